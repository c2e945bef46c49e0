// The version record: the small object whose presence means "ready". It is written once, exclusively,
// and never changes. Also Longhorn's own record of the file beside the bytes, backing.cfg.

import { randomBytes } from 'node:crypto'
import type { Digests } from './checksum.ts'
import type { Compression } from './compression.ts'
import { ImageError } from './errors.ts'
import type { ImageFormat } from './format.ts'
import { layoutVersion } from './layout.ts'

/** Records of these versions of the layout are read. */
const layoutsRead: readonly number[] = [1, layoutVersion]

/**
 * Where an image came from: Longhorn's words, and our own for what comes from there or from another
 * manager. `rollback` is not one: it keeps its version's.
 */
export const sourceTypes = [
  'download',
  'upload',
  'export-from-volume',
  'longhorn',
  'sync',
  'restore',
  'clone',
] as const

export type SourceType = (typeof sourceTypes)[number]

/** Of a source: texts, and the name of a secret under `credential`. */
export type Parameters = Record<string, string | { secretRef: string }>

/** What the client says of an image, kept as given. */
export interface Description {
  sourceType: SourceType
  /** No secrets. */
  parameters: Parameters
  /** What was asked for, where `parameters` say more exactly what came: the same request means it. */
  asked?: Parameters
  /** Tells two sources apart that look the same without their secrets (pull/same.ts). */
  sourceId?: string
  labels: Record<string, string>
  dataEngine: 'v1' | 'v2'
  /** How many copies Longhorn should keep; 0 leaves it to Longhorn. */
  minNumberOfCopies: number
  nodeSelector: string[]
  diskSelector: string[]
  /** The digests that the client gave, each `algorithm:hex`; the bytes must have them all. */
  expected: string[]
}

/** What arrived, where that was compressed and was unpacked while it passed. */
export interface Packed {
  compression: Compression
  /** Length in bytes. */
  size: number
  checksums: { sha512: string; sha256: string }
}

/** The rendition with zeros up to whole sectors (aligned.ts). */
export interface Aligned {
  /** Length in bytes. */
  size: number
  checksums: { sha512: string; sha256: string }
}

/** What was found out about the bytes while they passed. */
export interface Facts {
  /** Length in bytes. */
  size: number
  /** What a guest sees, in bytes. */
  virtualSize: number
  /** Bytes that they take on the medium. */
  realSize: number
  format: ImageFormat
  checksums: Digests
  /** Sentences for people. */
  warnings: string[]
  packed?: Packed
  /** Only of bytes that do not end with a whole sector of 512 bytes. */
  aligned?: Aligned
}

/** One published version. */
export interface VersionRecord extends Description, Facts {
  layout: number
  /** Fresh for each attempt to publish, so that a publisher knows its own. */
  id: string
  name: string
  version: string
  /** Of the ingest that brought it; a rollback shares that of the version it points at. */
  uuid: string
  /** One more than the highest that the publisher saw: the newest version has the highest. */
  sequence: number
  /**
   * Where the bytes are: readers use the first key that exists. The last is that of its own ingest;
   * before it may stand one of the same content, of any name, which was there already.
   */
  keys: string[]
  /** The version that a rollback points at. */
  rollbackOf?: string
  /** When the work began and when it was published, ISO 8601. */
  createdAt: string
  publishedAt: string
}

export function freshId(): string {
  return randomBytes(8).toString('hex')
}

/** The keys stand at the beginning: one that was cut off still speaks of its bytes. */
export function formatRecord(record: VersionRecord): string {
  const { layout, id, keys, ...others } = record
  return `${JSON.stringify({ layout, id, keys, ...others }, null, 2)}\n`
}

/**
 * Reads a record back. One that is not whole, or that a later layout wrote, is `data_loss` with the
 * key in its message: it must never be taken for an image that it does not describe.
 */
export function parseRecord(key: string, content: string): VersionRecord {
  const record = parseObject(key, content) as Partial<VersionRecord>
  if (!layoutsRead.includes(record.layout ?? 0)) {
    throw new ImageError(
      'data_loss',
      `${key} has layout ${String(record.layout)}, this server reads ${layoutsRead.join(' and ')}.`,
    )
  }
  const whole =
    typeof record.id === 'string' &&
    typeof record.name === 'string' &&
    typeof record.version === 'string' &&
    typeof record.uuid === 'string' &&
    Number.isSafeInteger(record.sequence) &&
    Number.isSafeInteger(record.size) &&
    Array.isArray(record.keys) &&
    record.keys.length > 0 &&
    record.keys.every((each) => typeof each === 'string') &&
    typeof record.checksums?.sha512 === 'string'
  if (!whole) throw new ImageError('data_loss', `${key} is no whole version record.`)
  return record as VersionRecord
}

/** A JSON object out of the store; anything else is `data_loss`. */
export function parseObject(key: string, content: string): object {
  try {
    const value: unknown = JSON.parse(content)
    if (typeof value === 'object' && value !== null) return value
  } catch (cause) {
    throw new ImageError('data_loss', `${key} is not JSON.`, { cause })
  }
  throw new ImageError('data_loss', `${key} is no JSON object.`)
}

/** Newest first: by sequence, then numeric labels as numbers above others, others by byte order. */
export function compareNewestFirst(a: VersionRecord, b: VersionRecord): number {
  if (a.sequence !== b.sequence) return b.sequence - a.sequence
  const left = numberOf(a.version)
  const right = numberOf(b.version)
  if (left !== right) return right - left
  return Buffer.compare(Buffer.from(b.version), Buffer.from(a.version))
}

function numberOf(version: string): number {
  return /^[1-9][0-9]{0,14}$/.test(version) ? Number(version) : -1
}

/**
 * The SHA-512 that the client gave, as hex, if it is that of the stored bytes: Longhorn compares the two,
 * and one of the packed bytes would be a mismatch to it. Else empty.
 */
export function expectedSha512(expected: readonly string[], { checksums, packed }: Facts): string {
  const given = expected.find((each) => each.startsWith('sha512:'))?.slice('sha512:'.length) ?? ''
  return packed && given !== checksums.sha512 ? '' : given
}

export interface BackingConfig {
  name: string
  uuid: string
  facts: Facts
  /** Longhorn's form: SHA-512 hex, or empty when the client gave none. */
  expectedChecksum: string
  /** Of the bytes, in nanoseconds since 1970. */
  modifiedAt: bigint
}

/**
 * Longhorn's backing.cfg: compact, keys in its order, `name` being the file's path as a container
 * of Longhorn sees it (contract §3.3).
 */
export function formatBackingConfig(config: BackingConfig): string {
  return JSON.stringify({
    name: `/data/backing-images/${config.name}-${config.uuid}/backing`,
    uuid: config.uuid,
    size: config.facts.size,
    virtualSize: config.facts.virtualSize,
    realSize: config.facts.realSize,
    expectedChecksum: config.expectedChecksum,
    currentChecksum: config.facts.checksums.sha512,
    modificationTime: formatGoTime(config.modifiedAt),
  })
}

/** Go's `Time.UTC().String()`: nanoseconds without trailing zeros (contract §3.4). */
export function formatGoTime(nanoseconds: bigint): string {
  const perSecond = 1_000_000_000n
  const fraction = ((nanoseconds % perSecond) + perSecond) % perSecond
  const seconds = Number((nanoseconds - fraction) / perSecond)
  const text = new Date(seconds * 1000).toISOString().slice(0, 19).replace('T', ' ')
  const digits = fraction.toString().padStart(9, '0').replace(/0+$/, '')
  return `${text}${digits === '' ? '' : `.${digits}`} +0000 UTC`
}
