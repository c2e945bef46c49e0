// The step that reads all bytes again, at a bounded rate, and compares their SHA-512 with the records.

import type { Hasher } from '../hasher.ts'
import { ingestId } from '../layout.ts'
import { isImageError, orUndefined } from '../errors.ts'
import { damaged, disagreement } from './damage.ts'
import type { Finding, ScrubContext, Step } from './finding.ts'
import { listRoot } from './folders.ts'
import { type NamedBytes, about, imagesOf, lookAgain, namedBytes } from './named.ts'

const step = 'digests'

export const digestsStep: Step = {
  name: step,
  what: 'bytes whose SHA-512 is not that of their records',
  run,
}

async function* run(context: ScrubContext): AsyncGenerator<Finding> {
  const named = await namedBytes(context)
  const { folders } = await listRoot(context.rooms.backend, () => context.checked(0))
  const there = named.filter(
    ({ name, uuid }) => folders.get(ingestId(name, uuid))?.bytes !== undefined,
  )
  const sizeOf = ({ name, uuid }: NamedBytes): number =>
    folders.get(ingestId(name, uuid))?.bytes?.size ?? 0
  context.expects(there.reduce((sum, bytes) => sum + sizeOf(bytes), 0))
  for (const bytes of there) {
    context.checked(1)
    yield* wrongDigest(context, bytes)
  }
}

async function* wrongDigest(context: ScrubContext, bytes: NamedBytes): AsyncGenerator<Finding> {
  const isRight = (digest: string | undefined): boolean =>
    digest === undefined || bytes.records.every(({ checksums }) => checksums.sha512 === digest)
  try {
    const first = await digestOf(context, bytes.key)
    if (isRight(first)) return
    // A cable, a cache or memory may be what is wrong: the medium is asked once more.
    const sha512 = await digestOf(context, bytes.key)
    if (sha512 === undefined) return
    const now = await lookAgain(context, bytes)
    if (!now) return
    const found = { ...bytes, records: now.records }
    if (sha512 !== first) {
      yield unsteady(found, first, sha512)
      return
    }
    const wrong = now.records.filter(({ checksums }) => checksums.sha512 !== sha512)
    const [record] = wrong
    if (!record) return
    const damage = {
      expected: `sha512:${record.checksums.sha512}`,
      actual: `sha512:${sha512}`,
    }
    yield wrong.length < now.records.length
      ? disagreement(step, found, wrong, damage)
      : await damaged(context, step, found, damage)
  } catch (error) {
    if (!isImageError(error) || context.signal.aborted) throw error
    yield* unread(context, bytes, error)
  }
}

/** Of the bytes as they are now; undefined when they are gone. */
async function digestOf(context: ScrubContext, key: string): Promise<string | undefined> {
  const { rooms, hasher, rate, signal } = context
  const bytes = await orUndefined(rooms.backend.get(key, { lend: true, signal }))
  return (
    bytes &&
    (await sha512Of(hasher, rate.pace(bytes, signal), (length) => {
      context.checked(0, length)
    }))
  )
}

/** The digest of bytes that nobody else reads. */
export async function sha512Of(
  hasher: Hasher,
  bytes: AsyncIterable<Uint8Array>,
  onRead: (length: number) => void,
): Promise<string> {
  const hashing = hasher.digest(bytes, ['sha512'])
  for await (const piece of hashing.bytes) onRead(piece.length)
  return (await hashing.digests()).sha512
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
