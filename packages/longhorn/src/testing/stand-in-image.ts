// The backing images of the stand-in: what its webhook checks and changes when one is made, and how the
// API shows them.

import { createHash } from 'node:crypto'
import { isIP } from 'node:net'

export interface StandInImage {
  name: string
  uuid: string
  sourceType: string
  parameters: Record<string, string>
  expectedChecksum: string
  currentChecksum: string
  minNumberOfCopies: number
  nodeSelector: string[]
  diskSelector: string[]
  dataEngine: string
  size: number
  virtualSize: number
  disks: Record<string, { dataEngine: string; state: string; progress: number; message: string }>
  /** What it has, where somebody may want to download it. */
  bytes?: Buffer
}

const sourceTypes = ['download', 'upload', 'export-from-volume', 'restore', 'clone']
const nameLengthMax = 40
const usualCopies = 3

/** Longhorn's checks of a new one (contract §7, "Checks on create"); throws what it says. */
export function assertNew(
  body: unknown,
  volumes: ReadonlyMap<string, Buffer> = new Map(),
): StandInImage {
  const given = body as Partial<StandInImage>
  const name = corrected(given.name ?? '')
  const { sourceType = '', parameters = {}, dataEngine = 'v1', minNumberOfCopies = 0 } = given
  const expectedChecksum = (given.expectedChecksum ?? '').trim()
  if (!/^[a-z0-9][a-z0-9_.-]+$/.test(name)) throw new Error(`invalid name ${name}`)
  if (!sourceTypes.includes(sourceType)) {
    throw new Error(`spec.sourceType: Unsupported value: "${sourceType}"`)
  }
  if (expectedChecksum !== '' && !/^[a-f0-9]{128}$/.test(expectedChecksum)) {
    throw new Error('invalid checksum SHA512')
  }
  if (dataEngine === 'v2') throw new Error('v2 backing image is not supported')
  if (minNumberOfCopies < 0) throw new Error('minNumberOfCopies must be at least 1')
  if (sourceType === 'download') assertUrl(parameters['url'] ?? '')
  if (sourceType === 'export-from-volume') {
    const volume = parameters['volume-name'] ?? ''
    if (!volumes.has(volume)) throw new Error(`volumes.longhorn.io "${volume}" not found`)
    parameters['export-type'] ??= 'raw'
  }
  return {
    name,
    uuid: createHash('sha256').update(`${name} ${Math.random()}`).digest('hex').slice(0, 8),
    sourceType,
    parameters,
    expectedChecksum,
    currentChecksum: '',
    minNumberOfCopies: minNumberOfCopies === 0 ? usualCopies : minNumberOfCopies,
    nodeSelector: given.nodeSelector ?? [],
    diskSelector: given.diskSelector ?? [],
    dataEngine,
    size: 0,
    virtualSize: 0,
    disks: {},
  }
}

function corrected(name: string): string {
  const lower = name.toLowerCase()
  if (lower.length <= nameLengthMax) return lower
  const checksum = createHash('sha512').update(name).digest('hex').slice(0, 8)
  return `${lower.slice(0, nameLengthMax - 9)}-${checksum}`
}

function assertUrl(text: string): void {
  const url = URL.canParse(text) ? new URL(text) : undefined
  if (!url || !/^https?:$/.test(url.protocol)) throw new Error(`invalid URL ${text}`)
  const host = url.hostname.replaceAll(/[[\]]/g, '')
  const isLoopback =
    host === 'localhost' || host === '::1' || (isIP(host) === 4 && /^(127\.|0\.0\.0\.0)/.test(host))
  if (isLoopback) throw new Error(`the host of ${text} is a loopback address`)
}

/** One that is there, with a copy on one disk. */
export function readyImage(
  name: string,
  bytes: Buffer,
  changes: Partial<StandInImage> = {},
): StandInImage {
  const checksum = createHash('sha512').update(bytes).digest('hex')
  return {
    ...assertNew({ name, sourceType: 'upload', minNumberOfCopies: 1 }),
    size: bytes.length,
    virtualSize: bytes.length,
    currentChecksum: checksum,
    disks: { 'disk-1': { dataEngine: 'v1', state: 'ready', progress: 100, message: '' } },
    bytes,
    ...changes,
  }
}

/** As the API gives it (contract §7, "Resource JSON"). */
export function resourceOf(image: StandInImage, base: string): object {
  const { disks, bytes: _, ...others } = image
  const self = `${base}/v1/backingimages/${image.name}`
  const at = new Date(0).toISOString()
  const entries = Object.entries(disks).map(([disk, each]) => [
    disk,
    { ...each, lastStateTransitionTime: at },
  ])
  return {
    id: image.name,
    type: 'backingImage',
    links: { self },
    actions: { backingImageCleanup: `${self}?action=backingImageCleanup` },
    ...others,
    diskFileStatusMap: Object.fromEntries(entries),
    secret: '',
    secretNamespace: '',
    deletionTimestamp: '',
  }
}
