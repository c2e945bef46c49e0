// The step that looks at bytes which were found corrupt before: whether sound ones serve in their place,
// and whether anybody still needs either.

import { removeBytes } from '../bytes.ts'
import { type Corruption, readCorruption } from '../corrupt.ts'
import { orUndefined } from '../errors.ts'
import { bytesKey, corruptKey, ingestId, marksPrefix, parseCorruptKey } from '../layout.ts'
import { damaged } from './damage.ts'
import { type Finding, type ScrubContext, type Step, mended } from './finding.ts'
import { type NamedBytes, about, imagesOf, lookAgain, namedBytes } from './named.ts'

const step = 'corrupt'

export const corruptStep: Step = {
  name: step,
  what: 'bytes that are marked as corrupt',
  run,
}

/** All corruptions that are marked now, by `<name>-<uuid>`. */
export async function corruptionsNow({
  rooms,
}: Pick<ScrubContext, 'rooms'>): Promise<Map<string, Corruption>> {
  const found = new Map<string, Corruption>()
  for await (const { key } of rooms.backend.list(marksPrefix)) {
    const ingest = parseCorruptKey(key)
    const corruption = ingest && (await readCorruption(rooms.backend, ingest))
    if (ingest && corruption) found.set(ingestId(ingest.name, ingest.uuid), corruption)
  }
  return found
}

async function* run(context: ScrubContext): AsyncGenerator<Finding> {
  const corruptions = await corruptionsNow(context)
  const named = new Map<string, NamedBytes>()
  if (corruptions.size > 0) {
    for (const bytes of await namedBytes(context)) {
      named.set(ingestId(bytes.name, bytes.uuid), bytes)
    }
  }
  for (const [id, corruption] of corruptions) {
    context.checked(1)
    const bytes = named.get(id)
    if (bytes) yield* known(context, bytes, corruption)
    else yield* needless(context, id)
  }
}

async function* known(
  context: ScrubContext,
  bytes: NamedBytes,
  seen: Corruption,
): AsyncGenerator<Finding> {
  const { backend } = context.rooms
  const now = await lookAgain(context, bytes)
  if (!now) return
  // The same bytes may have been uploaded meanwhile.
  const mark = (await readCorruption(backend, bytes)) ?? seen
  const { expected, actual, healedBy } = mark
  const found = { ...bytes, records: now.records }
  const sound = healedBy === undefined ? undefined : await orUndefined(backend.stat(healedBy))
  const damage = { expected, actual }
  if (healedBy === undefined) {
    yield await damaged(context, step, found, damage, {
      how: 'are known not to be what was stored',
    })
  } else if (sound?.size !== now.records[0]?.size) {
    const how = `are corrupt, and what served in their place, ${healedBy}, is gone`
    yield await damaged(context, step, found, damage, { how, mark })
  } else {
    const what = `The bytes of ${imagesOf(now.records)} are corrupt; ${healedBy} serves instead.`
    yield { step, level: 'note', ...about(found), ...damage, what, repair: 'none' }
  }
}

/** Of bytes that no record names any more. With them goes what healed them, and the mark. */
async function* needless(context: ScrubContext, id: string): AsyncGenerator<Finding> {
  const { rooms } = context
  const ingest = parseCorruptKey(`${marksPrefix}${id}/corrupt.json`)
  if (!ingest) return
  const { name, uuid } = ingest
  const key = corruptKey(name, uuid)
  if (!(await orUndefined(rooms.backend.stat(key)))) return
  const what = `${bytesKey(name, uuid)} is marked as corrupt, and no record names it any more.`
  yield await mended(context, { step, level: 'note', key, name, uuid, what }, async () => {
    await removeBytes(rooms, [ingest])
  })
}
