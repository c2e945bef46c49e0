// The fields of the objects that are handed out, with the types and words that the ones who take them
// allow (contract §8 for Longhorn's): what is not here would be dropped in silence, or refused.

export type FieldKind = 'text' | 'number' | 'texts' | 'text map' | readonly string[]

/** By kind, the fields of its `spec`; of those without one, its own beside the usual ones. */
export const fieldsOf: Record<string, Record<string, FieldKind>> = {
  BackingImage: {
    sourceType: ['download', 'upload', 'export-from-volume', 'restore', 'clone'],
    sourceParameters: 'text map',
    checksum: 'text',
    minNumberOfCopies: 'number',
    diskSelector: 'texts',
    nodeSelector: 'texts',
    secret: 'text',
    secretNamespace: 'text',
    dataEngine: ['v1', 'v2'],
  },
  Volume: {
    size: 'text',
    frontend: ['blockdev', 'iscsi', 'nvmf', 'ublk', ''],
    fromBackup: 'text',
    accessMode: ['rwo', 'rwx', 'rwop'],
    numberOfReplicas: 'number',
    backingImage: 'text',
    dataEngine: ['v1', 'v2'],
    nodeSelector: 'texts',
    diskSelector: 'texts',
  },
  StorageClass: {
    provisioner: ['driver.longhorn.io'],
    parameters: 'text map',
    reclaimPolicy: ['Delete', 'Retain'],
    volumeBindingMode: ['Immediate', 'WaitForFirstConsumer'],
  },
  VolumeSnapshotClass: {
    driver: ['driver.longhorn.io'],
    deletionPolicy: ['Delete', 'Retain'],
    parameters: 'text map',
  },
}

/** The words of a StorageClass that Longhorn knows, as far as they are used here. */
export const classParameters: ReadonlySet<string> = new Set([
  'numberOfReplicas',
  'staleReplicaTimeout',
  'dataEngine',
  'backingImage',
  'backingImageDataSourceType',
  'backingImageDataSourceParameters',
  'backingImageChecksum',
  'backingImageMinNumberOfCopies',
  'backingImageNodeSelector',
  'backingImageDiskSelector',
])

export function isOfKind(value: unknown, kind: FieldKind): boolean {
  if (typeof kind !== 'string') return typeof value === 'string' && kind.includes(value)
  if (kind === 'text') return typeof value === 'string'
  if (kind === 'number') return Number.isSafeInteger(value)
  if (kind === 'texts') return Array.isArray(value) && value.every((each) => isOfKind(each, 'text'))
  return (
    typeof value === 'object' &&
    value !== null &&
    Object.values(value).every((each) => isOfKind(each, 'text'))
  )
}
