// The step that compares Longhorn's own record of each file, backing.cfg, with the version records. It is
// written anew where it is wrong, and only once the bytes were read: a time in it that is not that of the
// file is what makes Longhorn read them, and else it believes what stands there.

import { type Stat, bytesOf, readAll } from '../backend.ts'
import { ImageError, isImageError, orUndefined } from '../errors.ts'
import { configKey, ingestId } from '../layout.ts'
import { removeBytes } from '../bytes.ts'
import { readCorruption } from '../corrupt.ts'
import { type VersionRecord, expectedSha512, formatBackingConfig, parseObject } from '../record.ts'
import { digestOf } from './digests.ts'
import { type Finding, type ScrubContext, type Step, mended } from './finding.ts'
import { listRoot } from './folders.ts'
import { type NamedBytes, about, imagesOf, isMarked, lookAgain, namedBytes } from './named.ts'

const step = 'configs'
/** Longhorn's fields, with room. */
const configBytesMax = 64 * 1024

export const configsStep: Step = {
  name: step,
  what: 'backing.cfg files that are missing or disagree with the records',
  run,
}

async function* run(context: ScrubContext): AsyncGenerator<Finding> {
  const named = await namedBytes(context)
  const { folders } = await listRoot(context.rooms.backend, () => context.checked(0))
  for (const bytes of named) {
    context.checked(1)
    const folder = folders.get(ingestId(bytes.name, bytes.uuid))
    if (!folder?.bytes) continue
    const found = await readConfig(context, bytes)
    const expected = expectedConfig(bytes, bytes.records, folder.bytes.modifiedAt)
    if (differing(found, expected).length > 0) yield* wrongConfig(context, bytes)
  }
}

type Config = Record<string, unknown>

/** Undefined when there is none; empty when it can not be read. */
async function readConfig(
  { rooms }: ScrubContext,
  { name, uuid }: NamedBytes,
): Promise<Config | undefined> {
  const key = configKey(name, uuid)
  const bytes = await orUndefined(rooms.backend.get(key))
  if (!bytes) return undefined
  try {
    return parseObject(key, (await readAll(bytes, configBytesMax)).toString()) as Config
  } catch (error) {
    if (!isImageError(error, 'data_loss')) throw error
    return {}
  }
}

/** What the file should say. Of records that share the bytes, that of the ingest which brought them. */
function expectedConfig(
  { name, uuid }: NamedBytes,
  records: readonly VersionRecord[],
  modifiedAt: bigint,
): string {
  const own = records.find((record) => record.uuid === uuid && record.name === name) ?? records[0]
  if (!own) throw new Error('Nobody names these bytes.')
  const expectedChecksum = expectedSha512(own.expected, own)
  return formatBackingConfig({ name, uuid, facts: own, expectedChecksum, modifiedAt })
}

/**
 * The fields that are not as they should be. What the client expected, and how much the bytes take, are
 * of the ingest that wrote them, whose record may be gone: any digest that is theirs will do, or none.
 */
function differing(found: Config | undefined, expected: string): string[] {
  const wanted = JSON.parse(expected) as Config
  if (!found) return Object.keys(wanted)
  return Object.keys(wanted).filter((field) => {
    const value = found[field]
    if (field === 'realSize') return !Number.isSafeInteger(value)
    if (field === 'expectedChecksum') return value !== '' && value !== wanted['currentChecksum']
    return value !== wanted[field]
  })
}

async function* wrongConfig(context: ScrubContext, bytes: NamedBytes): AsyncGenerator<Finding> {
  // Deleted meanwhile: the file goes after the records and before the bytes.
  const found = await readConfig(context, bytes)
  if (await isMarked(context, bytes)) return
  const now = await lookAgain(context, bytes)
  if (!now) return
  const { backend } = context.rooms
  const { name, uuid } = bytes
  const content = expectedConfig(bytes, now.records, now.stat.modifiedAt)
  const fields = differing(found, content)
  if (fields.length === 0) return
  const images = imagesOf(now.records)
  const isLate = fields.length === 1 && fields[0] === 'modificationTime'
  const what = !found
    ? `backing.cfg of ${images} is missing.`
    : isLate
      ? `backing.cfg of ${images} was made for another time of its file: Longhorn would read it all.`
      : `backing.cfg of ${images} disagrees with the record in ${fields.join(', ')}.`
  const finding: Finding = {
    step,
    level: isLate ? 'note' : 'fault',
    ...about({ ...bytes, records: now.records }),
    key: configKey(name, uuid),
    what,
  }
  if (await readCorruption(backend, bytes)) {
    const left = `${what} The bytes are known to be corrupt: it stays as it is.`
    yield { ...finding, level: 'note', what: left, repair: 'none' }
    return
  }
  const told = await mended(context, finding, async () => {
    const isThere = await assertRight(context, bytes.key, now)
    if (isThere) await backend.put(configKey(name, uuid), bytesOf(content))
    // A remover that was faster has left nothing but what was just written.
    if (!(await lookAgain(context, bytes))) await removeBytes(context.rooms, [{ name, uuid }])
  })
  yield told.repair === 'failed' ? { ...told, level: 'fault' } : told
}

/**
 * Throws unless the bytes, as they are now, are what their records say: what this run has read before, and
 * has not changed since, is not read again. Returns whether they are there.
 */
async function assertRight(
  context: ScrubContext,
  key: string,
  { stat, records }: { stat: Stat; records: readonly VersionRecord[] },
): Promise<boolean> {
  if (context.verified.get(key) === stat.tag) return true
  context.expects(stat.size)
  const sha512 = await digestOf(context, key)
  const after = await orUndefined(context.rooms.backend.stat(key))
  if (sha512 === undefined || !after) return false
  if (records.some(({ checksums }) => checksums.sha512 !== sha512)) {
    throw new ImageError(
      'data_loss',
      `The bytes are not what was stored, their digest is sha512:${sha512}. So backing.cfg stays as it ` +
        'is; a scrub with repair of the step digests marks and replaces them.',
    )
  }
  if (after.tag === stat.tag) return true
  throw new ImageError('aborted', `${key} was changed while it was read. Scrub again.`)
}
