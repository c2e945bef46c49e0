// The header of an encrypted disk (LUKS2): what is told there of its data, and the key of them. cryptsetup
// makes it and reads it; no other program of this machine is needed.

import type { OpenFile } from '@backing-image/backend-local'
import { ImageError } from '@backing-image/core'
import type { Encryption } from './credential.ts'
import { cryptsetup, file } from './cryptsetup.ts'
import { type SectorCipher, sectorCipher, unitBytes } from './sector-cipher.ts'

/** So long is the header of what is encrypted here, as Longhorn's are (contract §3.7). */
export const headerBytes: number = 16 * 1024 * 1024
/** The start of a header of version 2. */
const magic = Buffer.from('LUKS\xba\xbe\x00\x02', 'latin1')

/** A file that holds such a header, at its start. */
export interface LuksFile {
  file: Pick<OpenFile, 'fd' | 'read'>
  signal: AbortSignal
}

/** What the header tells of the data, which go to the end of the file. */
export interface DataSegment {
  offsetBytes: number
  sectorBytes: number
  cipher: string
  /** The number of the first sector, in units of 512 bytes. */
  firstUnit: number
}

/**
 * Makes a header in a file of more than `headerBytes`. Sectors have 512 bytes, as cryptsetup chooses for a
 * loop device: any other disk takes them, too.
 */
export async function makeHeader(
  luks: LuksFile,
  passphrase: string,
  encryption: Encryption,
): Promise<void> {
  const { cipher, hash, keyBits, pbkdf, iterations, memoryKiB } = encryption
  const options = [
    ['type', 'luks2'],
    ['offset', String(headerBytes / unitBytes)],
    ['sector-size', String(unitBytes)],
    ['cipher', cipher],
    ['hash', hash],
    ['key-size', String(keyBits)],
    ['pbkdf', pbkdf],
    ['pbkdf-force-iterations', iterations],
    ['pbkdf-memory', memoryKiB],
  ]
  const given = options.filter(([, value]) => value !== '').map((each) => `--${each.join('=')}`)
  const args = ['--batch-mode', 'luksFormat', ...given, '--key-file=-', file]
  await cryptsetup({ ...luks, args, passphrase })
}

/** Rejects unless the image is encrypted, in a way that is known here. */
export async function readSegment(luks: LuksFile): Promise<DataSegment> {
  const start = Buffer.alloc(magic.length)
  await luks.file.read(start, 0)
  if (!start.equals(magic)) throw notEncrypted('This one has no such header.')
  const args = ['luksDump', '--dump-json-metadata', file]
  const text = await cryptsetup({ ...luks, args })
  const metadata = JSON.parse(text) as Metadata
  const [segment = {}, ...others] = Object.values(metadata.segments ?? {})
  const requirements = metadata.config?.requirements?.mandatory ?? []
  const { type, size, integrity, offset, encryption = '', sector_size: sectorBytes = 0 } = segment
  const isPlain = type === 'crypt' && size === 'dynamic' && integrity === undefined
  if (!isPlain || others.length > 0 || requirements.length > 0) {
    throw notEncrypted('It has checksums of its sectors, or its encryption is being changed.')
  }
  const found = {
    offsetBytes: Number(offset),
    sectorBytes,
    cipher: encryption,
    firstUnit: Number(segment.iv_tweak),
  }
  const isSane =
    Number.isSafeInteger(found.offsetBytes) &&
    Number.isSafeInteger(found.firstUnit) &&
    [512, 1024, 2048, 4096].includes(sectorBytes)
  if (isSane) return found
  throw notEncrypted('Its header can not be understood.')
}

/** What reads and writes the sectors, once the passphrase has opened the header. */
export async function openSegment(
  luks: LuksFile,
  passphrase: string,
  { cipher, sectorBytes }: DataSegment,
): Promise<SectorCipher> {
  const args = ['--batch-mode', 'luksDump', '--dump-volume-key', '--key-file=-', file]
  const text = await cryptsetup({ ...luks, args, passphrase })
  const [, digits = ''] = /dump:\s+((?:[0-9a-f]{2}\s+)+)$/.exec(text) ?? []
  return sectorCipher(cipher, Buffer.from(digits.replaceAll(/\s/g, ''), 'hex'), sectorBytes)
}

/** Of what cryptsetup tells: it has looked at the rest. */
interface Metadata {
  segments?: Record<string, Segment>
  config?: { requirements?: { mandatory?: string[] } }
}

interface Segment {
  type?: string
  offset?: string
  size?: string
  iv_tweak?: string
  encryption?: string
  sector_size?: number
  integrity?: unknown
}

function notEncrypted(why: string): ImageError {
  return new ImageError(
    'failed_precondition',
    `The image can not be decrypted: a raw one that is encrypted by LUKS2 is expected. ${why}`,
  )
}
