// The step that looks for puts which were never finished: temporary files, multipart uploads.

import { type UnfinishedPut, hasUnfinished } from '../backend.ts'
import { isOwnForm, parseBytesKey } from '../layout.ts'
import { isNobodys } from '../sweep.ts'
import { type Finding, type ScrubContext, type Step, isLeft, mended } from './finding.ts'

const step = 'unfinished'

export const unfinishedStep: Step = {
  name: step,
  what: 'unfinished files and multipart uploads that nobody works on',
  run,
}

async function* run(context: ScrubContext): AsyncGenerator<Finding> {
  const { backend } = context.rooms
  if (!hasUnfinished(backend)) return
  const left: UnfinishedPut[] = []
  for await (const put of backend.unfinished()) {
    context.checked(1)
    if (isOwnForm(put.key)) left.push(put)
  }
  // Jobs after puts: what began meanwhile is not looked at.
  const nobodys = []
  for (const put of left) if (await isStray(context, put)) nobodys.push(put)
  if (nobodys.length === 0) return
  // What was finished before its job went is not there any more.
  const now = new Set<string>()
  for await (const { id } of backend.unfinished()) now.add(id)
  for (const put of nobodys) if (now.has(put.id)) yield* unfinished(context, put)
}

/** Bytes belong to a job, and nothing else of ours takes an hour to write. */
async function isStray(context: ScrubContext, put: UnfinishedPut): Promise<boolean> {
  const bytes = parseBytesKey(put.key)
  if (bytes) return await isNobodys(context.rooms.jobs, bytes.name, bytes.uuid)
  return await isLeft(context, put.modifiedAt)
}

async function* unfinished(context: ScrubContext, put: UnfinishedPut): AsyncGenerator<Finding> {
  const { backend } = context.rooms
  // Who is being cancelled may still be writing, for some seconds.
  const isOver = await isLeft(context, put.modifiedAt, put.owner)
  const what = `A put of ${put.key} was never finished, and nobody works on it any more.`
  const found: Finding = { step, level: isOver ? 'fault' : 'note', key: put.key, what }
  yield await mended(context, found, async () => {
    if (hasUnfinished(backend)) await backend.discard(put.id)
  })
}
