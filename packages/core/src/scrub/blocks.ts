// The step that looks at the block indexes beside the bytes.

import { blockCount, blockEntryBytes } from '../blocks.ts'
import { ingestId } from '../layout.ts'
import type { Finding, ScrubContext, Step } from './finding.ts'
import { listRoot } from './folders.ts'
import { about, imagesOf, isMarked, lookAgain, namedBytes } from './named.ts'
import { Notes } from './notes.ts'

const step = 'blocks'

export const blocksStep: Step = {
  name: step,
  what: 'block indexes that are missing or of a wrong length',
  run,
}

/** How long the index of so many bytes is. */
export function indexLength(size: number): number {
  return blockCount(size) * blockEntryBytes
}

async function* run(context: ScrubContext): AsyncGenerator<Finding> {
  const named = await namedBytes(context)
  const { folders } = await listRoot(context.rooms.backend, () => context.checked(0))
  const notes = new Notes(step, (count) => `${count} more images have no block index.`)
  for (const bytes of named) {
    context.checked(1)
    const folder = folders.get(ingestId(bytes.name, bytes.uuid))
    if (!folder?.bytes) continue
    const length = indexLength(folder.bytes.size)
    if (folder.blocks?.size === length) continue
    // Deleted meanwhile: the index goes before the bytes.
    const now = (await isMarked(context, bytes)) ? undefined : await lookAgain(context, bytes)
    if (!now) continue
    const images = imagesOf(now.records)
    if (!folder.blocks) {
      const what = `${images} has no block index: other managers take all of its bytes.`
      yield* notes.add({ ...about(bytes), what, repair: 'none' })
      continue
    }
    const what = `The block index of ${images} has not one entry for each block: it is not used. The step digests of a scrub with repair makes it anew.`
    const [expected, actual] = [`${length} bytes`, `${folder.blocks.size} bytes`]
    yield { step, level: 'fault', ...about(bytes), what, expected, actual, repair: 'none' }
  }
  yield* notes.rest()
}
