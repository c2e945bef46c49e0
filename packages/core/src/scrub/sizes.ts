// The step that compares the sizes of the bytes with those that the records name: cheap, and enough to
// find what was cut off.

import { ingestId } from '../layout.ts'
import { corruptionsNow } from './corrupt.ts'
import { damaged, disagreement } from './damage.ts'
import type { Finding, ScrubContext, Step } from './finding.ts'
import { listRoot } from './folders.ts'
import { type NamedBytes, lookAgain, namedBytes } from './named.ts'

const step = 'sizes'

export const sizesStep: Step = {
  name: step,
  what: 'bytes that are longer or shorter than their records say',
  run,
}

async function* run(context: ScrubContext): AsyncGenerator<Finding> {
  const named = await namedBytes(context)
  const corrupt = await corruptionsNow(context)
  const { folders } = await listRoot(context.rooms.backend, () => context.checked(0))
  for (const bytes of named) {
    context.checked(1)
    const id = ingestId(bytes.name, bytes.uuid)
    const size = folders.get(id)?.bytes?.size
    // What is known is told by another step.
    if (
      size === undefined ||
      corrupt.has(id) ||
      bytes.records.every((record) => record.size === size)
    )
      continue
    yield* wrongSize(context, bytes)
  }
}

async function* wrongSize(context: ScrubContext, bytes: NamedBytes): AsyncGenerator<Finding> {
  const now = await lookAgain(context, bytes)
  const wrong = now?.records.filter((record) => record.size !== now.stat.size) ?? []
  const [first] = wrong
  if (!now || !first) return
  const damage = { expected: `${first.size} bytes`, actual: `${now.stat.size} bytes` }
  const found = { ...bytes, records: now.records }
  yield wrong.length < now.records.length
    ? disagreement(step, found, wrong, damage)
    : await damaged(context, step, found, damage)
}
