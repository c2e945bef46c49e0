// An image as the outside sees it (docs/api.md), made of a published record or of a job. The links
// are added by the front, which alone knows the address.

import type { Job } from './claim.ts'
import { consumerName, consumerNameMax } from './consumer-name.ts'
import { ImageError } from './errors.ts'
import type { ImageFormat } from './format.ts'
import { isNumericVersion } from './layout.ts'
import {
  type Description,
  type Parameters,
  type Packed,
  type SourceType,
  type VersionRecord,
  expectedSha512,
} from './record.ts'

export type State = 'pending' | 'starting' | 'in-progress' | 'ready' | 'failed' | 'unknown'

export interface Image {
  name: string
  version: string
  uuid: string
  state: State
  /** 0 to 100. */
  progress: number
  processedSize: number
  message: string
  size: number
  virtualSize: number
  realSize: number
  format: ImageFormat | ''
  sourceType: SourceType
  parameters: Parameters
  expectedChecksum: string
  expected: string
  currentChecksum: string
  checksums: { sha512: string; sha256: string }
  labels: Record<string, string>
  dataEngine: 'v1' | 'v2'
  minNumberOfCopies: number
  nodeSelector: string[]
  diskSelector: string[]
  warnings: string[]
  createdAt: string
  updatedAt: string
  /** What arrived, when that was compressed. */
  packed?: Packed
  /** The version that this one points at, when it is a rollback. */
  rollbackOf?: string
}

/** A published version is ready, whole and final. */
export function imageOfRecord(record: VersionRecord): Image {
  return {
    name: record.name,
    version: record.version,
    uuid: record.uuid,
    state: 'ready',
    progress: 100,
    processedSize: record.size,
    message: '',
    size: record.size,
    virtualSize: record.virtualSize,
    realSize: record.realSize,
    format: record.format,
    ...described(record),
    expectedChecksum: expectedSha512(record.expected, record),
    currentChecksum: record.checksums.sha512,
    checksums: record.checksums,
    warnings: [...record.warnings, ...nameWarnings(record.name, record.version)],
    createdAt: record.createdAt,
    updatedAt: record.publishedAt,
    ...(record.packed && { packed: record.packed }),
    ...(record.rollbackOf === undefined ? {} : { rollbackOf: record.rollbackOf }),
  }
}

const images = new WeakMap<VersionRecord, Image>()

/** The same, made once for each record: of the list, since there may be very many. */
export function listedImage(record: VersionRecord): Image {
  const known = images.get(record)
  if (known) return known
  const image = imageOfRecord(record)
  images.set(record, image)
  return image
}

/** Work in flight, or failed. */
export function imageOfJob(job: Job): Image {
  const { claim, beat, end } = job
  const size = beat.size ?? claim.size ?? 0
  const processedSize = beat.processedSize
  const share = size > 0 ? Math.floor((processedSize / size) * 100) : 0
  return {
    name: job.name,
    version: claim.version,
    uuid: job.uuid,
    state: end ? 'failed' : beat.state,
    // 100 is what "ready" says.
    progress: Math.min(share, 99),
    processedSize,
    message: end?.message ?? beat.note ?? '',
    size,
    virtualSize: 0,
    realSize: 0,
    format: '',
    ...described(claim.description),
    currentChecksum: '',
    checksums: { sha512: '', sha256: '' },
    warnings: nameWarnings(job.name, claim.version),
    createdAt: claim.createdAt,
    updatedAt: end?.endedAt ?? beat.at,
  }
}

/** There are no bytes of it to be had. */
export function notReady({ name, version, state, message }: Image): ImageError {
  const why = message === '' ? '.' : `: ${message}`
  return new ImageError('not_found', `${name} ${version} is ${state}${why}`, { state })
}

function described(description: Description) {
  const { expected } = description
  const sha512 = expected.find((each) => each.startsWith('sha512:'))
  return {
    sourceType: description.sourceType,
    parameters: description.parameters,
    expectedChecksum: sha512?.slice('sha512:'.length) ?? '',
    expected: expected[0] ?? '',
    labels: description.labels,
    dataEngine: description.dataEngine,
    minNumberOfCopies: description.minNumberOfCopies,
    nodeSelector: description.nodeSelector,
    diskSelector: description.diskSelector,
  }
}

function nameWarnings(name: string, version: string): string[] {
  const other = consumerName(name, version)
  if (other === name) return []
  const why =
    name.length > consumerNameMax
      ? `has over ${consumerNameMax} characters`
      : 'is no name in Kubernetes (RFC 1123)'
  return [`The name ${name} ${why}: Longhorn and manifests will call this version ${other}.`]
}

/** The label that a client who gives none gets: one more than the highest that counts. */
export function nextVersion(versions: Iterable<string>): string {
  let highest = 0
  for (const version of versions) {
    if (isNumericVersion(version)) highest = Math.max(highest, Number(version))
  }
  const next = String(highest + 1)
  if (isNumericVersion(next)) return next
  throw new ImageError('failed_precondition', `${next} would be too long a version: give one.`, {
    reason: 'invalid_request',
  })
}
