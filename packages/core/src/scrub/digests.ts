// The step that reads all bytes again, at a bounded rate, and compares their SHA-512 with the records.

import { bytesOf } from '../backend.ts'
import { removeBytes } from '../bytes.ts'
import type { Corruption } from '../corrupt.ts'
import { blocksKey, ingestId, parseBytesKey } from '../layout.ts'
import { isImageError, orUndefined } from '../errors.ts'
import { corruptionsNow } from './corrupt.ts'
import { damaged, disagreement } from './damage.ts'
import { indexLength } from './blocks.ts'
import { type Finding, type ScrubContext, type Step, mended } from './finding.ts'
import { listRoot } from './folders.ts'
import { type NamedBytes, about, imagesOf, isMarked, lookAgain, namedBytes } from './named.ts'

const step = 'digests'

export const digestsStep: Step = {
  name: step,
  what: 'bytes whose SHA-512 is not that of their records',
  run,
}

/** Bytes that records name, or those that serve in their place. */
interface Served extends NamedBytes {
  /** The block index beside them is of a wrong length, and is to be made anew. */
  isIndexDamaged: boolean
  /** The corrupt bytes that `key` serves for, and what their mark says. */
  instead?: { bytes: NamedBytes; mark: Corruption }
}

async function* run(context: ScrubContext): AsyncGenerator<Finding> {
  const { backend } = context.rooms
  const corrupt = await corruptionsNow(context)
  const named = await namedBytes(context)
  const { folders } = await listRoot(backend, () => context.checked(0))
  const sizeOf = (key: string): number | undefined => {
    const ingest = parseBytesKey(key)
    return ingest && folders.get(ingestId(ingest.name, ingest.uuid))?.bytes?.size
  }
  const isDamaged = ({ name, uuid }: NamedBytes): boolean => {
    const { bytes, blocks } = folders.get(ingestId(name, uuid)) ?? {}
    return bytes !== undefined && blocks !== undefined && blocks.size !== indexLength(bytes.size)
  }
  const there = named
    .map((bytes) => ({ ...bytes, isIndexDamaged: context.repair && isDamaged(bytes) }))
    .flatMap((bytes) => servedFor(bytes, corrupt.get(ingestId(bytes.name, bytes.uuid))))
    .filter(({ key }) => sizeOf(key) !== undefined)
  context.expects(there.reduce((sum, { key }) => sum + (sizeOf(key) ?? 0), 0))
  for (const bytes of there) {
    context.checked(1)
    yield* wrongDigest(context, bytes)
  }
}

/** Of what is known to be corrupt nothing new is learned. */
function servedFor(bytes: Served, mark: Corruption | undefined): Served[] {
  if (!mark) return [bytes]
  return mark.healedBy === undefined
    ? []
    : [{ ...bytes, isIndexDamaged: false, key: mark.healedBy, instead: { bytes, mark } }]
}

async function* wrongDigest(context: ScrubContext, bytes: Served): AsyncGenerator<Finding> {
  const isRight = (digest: string | undefined): boolean =>
    digest === undefined || bytes.records.every(({ checksums }) => checksums.sha512 === digest)
  try {
    const before = await orUndefined(context.rooms.backend.stat(bytes.key))
    let index: Uint8Array | undefined
    const keep = (blocks: Uint8Array): void => void (index = blocks)
    const first = await digestOf(context, bytes.key, bytes.isIndexDamaged ? keep : undefined)
    if (isRight(first)) {
      if (before && first !== undefined) context.verified.set(bytes.key, before.tag)
      if (index) yield* indexAnew(context, bytes, index)
      return
    }
    // A cable, a cache or memory may be what is wrong: the medium is asked once more.
    const sha512 = await digestOf(context, bytes.key)
    if (sha512 === undefined) return
    const now = await lookAgain(context, bytes)
    if (!now) return
    const found = { ...bytes, records: now.records }
    if (sha512 !== first) yield unsteady(found, first, sha512)
    else yield* wrong(context, found, sha512)
  } catch (error) {
    if (!isImageError(error) || context.signal.aborted) throw error
    yield* unread(context, bytes, error)
  }
}

async function* wrong(
  context: ScrubContext,
  bytes: Served,
  sha512: string,
): AsyncGenerator<Finding> {
  const { records, instead } = bytes
  const others = records.filter(({ checksums }) => checksums.sha512 !== sha512)
  const [record] = others
  if (!record) return
  const damage = { expected: `sha512:${record.checksums.sha512}`, actual: `sha512:${sha512}` }
  if (others.length < records.length) {
    yield disagreement(step, bytes, others, damage)
  } else if (instead) {
    const how = `are corrupt, and so are those that serve in their place, ${bytes.key}`
    const corrupt = { ...instead.bytes, records }
    yield await damaged(context, step, corrupt, damage, { how, mark: instead.mark })
  } else {
    yield await damaged(context, step, bytes, damage)
  }
}

/** Of the bytes as they are now; undefined when they are gone. */
export async function digestOf(
  context: ScrubContext,
  key: string,
  onBlocks?: (index: Uint8Array) => void,
): Promise<string | undefined> {
  const { rooms, hasher, rate, signal } = context
  const bytes = await orUndefined(rooms.backend.get(key, { lend: true, signal }))
  if (!bytes) return undefined
  const wanted = onBlocks ? (['sha512', 'blocks'] as const) : (['sha512'] as const)
  const hashing = hasher.digest(rate.pace(bytes, signal), wanted)
  for await (const piece of hashing.bytes) context.checked(0, piece.length)
  const { sha512 } = await hashing.digests()
  onBlocks?.(hashing.blocks())
  return sha512
}

/** The index is made of nothing but the bytes: it may be written over. */
async function* indexAnew(
  context: ScrubContext,
  bytes: NamedBytes,
  index: Uint8Array,
): AsyncGenerator<Finding> {
  const { name, uuid } = bytes
  // Deleted meanwhile: the index goes before the bytes.
  const now = (await isMarked(context, bytes)) ? undefined : await lookAgain(context, bytes)
  if (!now || index.length !== indexLength(now.stat.size)) return
  const key = blocksKey(name, uuid)
  const what = `The block index of ${imagesOf(now.records)} was damaged: it is made anew.`
  const told = { ...about({ ...bytes, records: now.records }), key, what }
  yield await mended(context, { step, level: 'note', ...told }, async () => {
    await context.rooms.backend.put(key, bytesOf(index))
    // A remover that was faster has left nothing but what was just written.
    if (!(await lookAgain(context, bytes))) await removeBytes(context.rooms, [{ name, uuid }])
  })
}

function unsteady(bytes: NamedBytes, first: string | undefined, second: string): Finding {
  const what =
    `Two reads of the bytes of ${imagesOf(bytes.records)} gave different bytes: the medium, its ` +
    'connection or the memory of this machine is faulty. Nothing was marked; look at the hardware.'
  const [expected, actual] = [`sha512:${first}`, `sha512:${second}`]
  return { step, level: 'fault', ...about(bytes), what, expected, actual, repair: 'none' }
}

/** What can not be read is told; where the whole storage is away, the scrub ends. */
async function* unread(
  context: ScrubContext,
  bytes: NamedBytes,
  error: Error,
): AsyncGenerator<Finding> {
  // Deleted meanwhile, or the storage is away: then this look fails, too.
  const now = await lookAgain(context, bytes)
  if (!now) return
  const what = `The bytes of ${imagesOf(now.records)} can not be read: ${error.message}`
  yield { step, level: 'fault', ...about(bytes), what, repair: 'none' }
}
