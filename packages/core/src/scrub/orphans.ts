// The step that looks for what no record names: bytes of ours that were left behind, which it may
// remove, and what is somebody else's, which is told of and never touched.

import type { Stat } from '../backend.ts'
import type { Job } from '../claim.ts'
import { orUndefined } from '../errors.ts'
import { bytesKey, configKey, ingestId, marksPrefix, parseBytesKey } from '../layout.ts'
import { parseMarkKey } from '../layout.ts'
import { removeBytes } from '../bytes.ts'
import { isDeadOnes } from '../sweep.ts'
import { corruptionsNow } from './corrupt.ts'
import { type Finding, type ScrubContext, type Step, isLeft, mended } from './finding.ts'
import { type Folder, type Root, listRoot } from './folders.ts'
import { namedBytes } from './named.ts'
import { Notes } from './notes.ts'

const step = 'orphans'

export const orphansStep: Step = {
  name: step,
  what: 'bytes that no record names, and what is not ours',
  run,
}

async function* run(context: ScrubContext): AsyncGenerator<Finding> {
  const { backend, jobs } = context.rooms
  const root = await listRoot(backend, (objects) => context.checked(objects))
  // In the order of a life: what ended as a job meanwhile is a record or a mark by now.
  const jobsById = new Map<string, Job>()
  for (const job of await jobs.all()) jobsById.set(ingestId(job.name, job.uuid), job)
  const named = new Set((await namedBytes(context)).map(({ name, uuid }) => ingestId(name, uuid)))
  // Last, for who puts bytes in the place of others names them before it ends its job.
  for (const [id, { healedBy }] of await corruptionsNow(context)) {
    // Another step looks after those.
    named.add(id)
    const ingest = parseBytesKey(healedBy ?? '')
    if (ingest) named.add(ingestId(ingest.name, ingest.uuid))
  }
  const marks = await oldestMarks(context)
  const notes = new Notes(step, (count) => `${count} more folders are not of this store.`)
  for (const [id, folder] of root.folders) {
    context.checked(0)
    if (named.has(id)) continue
    const job = jobsById.get(id)
    if (job && !job.end) continue
    const mark = marks.get(id)
    if (job ?? mark) yield* ours(context, folder, mark, job)
    else if (await isStillThere(context, folder)) yield* notes.add(foreignFolder(id, folder))
  }
  yield* notes.rest()
  yield* foreignNames(root)
}

/** By ingest. */
async function oldestMarks({ rooms }: ScrubContext): Promise<Map<string, Stat>> {
  const marks = new Map<string, Stat>()
  for await (const stat of rooms.backend.list(marksPrefix)) {
    const ingest = parseMarkKey(stat.key)
    if (!ingest) continue
    const id = ingestId(ingest.name, ingest.uuid)
    const other = marks.get(id)
    if (!other || stat.modifiedAt < other.modifiedAt) marks.set(id, stat)
  }
  return marks
}

/** What a job or a mark of ours names, and no record. */
async function* ours(
  context: ScrubContext,
  folder: Folder,
  mark: Stat | undefined,
  job: Job | undefined,
): AsyncGenerator<Finding> {
  const { rooms } = context
  const { name, uuid } = folder
  if (!folder.bytes && !folder.config && !folder.blocks) return
  if (!(await isStillThere(context, folder))) return
  // A remover marks before it removes: with a mark that is young, one may be at it.
  const since = [mark?.modifiedAt, job?.endedAtNs].filter((each) => each !== undefined)
  const sinceNs = since.reduce((one, other) => (one < other ? one : other))
  const isOver =
    (await isLeft(context, sinceNs)) ||
    (mark !== undefined && (await isDeadOnes(rooms.backend, mark.key)))
  const key = bytesKey(name, uuid)
  const why = job?.end ? 'the work that brought them has failed' : 'they were to be deleted'
  const what = `No record names the bytes in ${ingestId(name, uuid)}, and ${why}.`
  const found: Finding = { step, level: isOver ? 'fault' : 'note', key, name, uuid, what }
  yield await mended(context, found, async () => {
    await removeBytes(rooms, [{ name, uuid }])
  })
}

/** Whether it has not gone, or been begun by a job, since it was listed. */
async function isStillThere({ rooms }: ScrubContext, folder: Folder): Promise<boolean> {
  const { name, uuid, bytes, config } = folder
  const key = bytes ? bytesKey(name, uuid) : config ? configKey(name, uuid) : undefined
  if (key === undefined) return true
  return (await orUndefined(rooms.backend.stat(key))) !== undefined
}

function foreignFolder(id: string, { name, uuid }: Folder): Omit<Finding, 'step' | 'level'> {
  const what =
    `${id} is of the form of ours, but no record, job or mark of this store names it: it belongs to ` +
    'somebody else, such as Longhorn, and is never touched.'
  return { key: bytesKey(name, uuid), name, uuid, what, repair: 'none' }
}

function* foreignNames({ foreign, foreignObjects }: Root): Generator<Finding> {
  let told = 0
  for (const [name, count] of foreign) {
    told += count
    const what = `${name} is not of this store (${count} objects): it is never touched.`
    yield { step, level: 'note', key: name, what, repair: 'none' }
  }
  const left = foreignObjects - told
  if (left > 0) {
    yield { step, level: 'note', what: `${left} more objects are not of this store.` }
  }
}
