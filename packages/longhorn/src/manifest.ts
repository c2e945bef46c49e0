// What to give to `kubectl apply` so that a cluster uses an image: objects of Longhorn (contract §8), of
// Kubernetes, and of KubeVirt's CDI. They are plain values; whoever shows them writes them as YAML.

/** What a manifest is made of. */
export interface ManifestImage {
  /** As Longhorn knows it. */
  name: string
  /** The permanent URL of its bytes. */
  url: string
  sha512: string
  /** What a guest sees, in bytes. */
  virtualSize: number
  dataEngine: 'v1' | 'v2'
  /** 0 leaves it to Longhorn. */
  minNumberOfCopies: number
  nodeSelector: string[]
  diskSelector: string[]
}

export interface ManifestOptions {
  /** Where Longhorn is, or for others where the object is to be; Kubernetes' default when absent. */
  namespace?: string
  /** Of a Volume: the backup that it is restored from. */
  fromBackup?: string
}

export const manifestKinds = [
  'BackingImage',
  'StorageClass',
  'PersistentVolumeClaim',
  'VolumeSnapshotClass',
  'Volume',
  'DataVolume',
] as const

export type ManifestKind = (typeof manifestKinds)[number]

export interface Manifest {
  apiVersion: string
  kind: ManifestKind
  metadata: { name: string; namespace?: string }
  [field: string]: unknown
}

const longhornNamespace = 'longhorn-system'
const usualReplicas = 3
/** Longhorn makes volumes of whole 2 MiB. */
const volumeUnitBytes = 2 * 1024 * 1024

/** One object of that kind. Those of Longhorn itself go to its namespace unless another is named. */
export function manifestOf(
  kind: ManifestKind,
  image: ManifestImage,
  options: ManifestOptions = {},
): Manifest {
  return makers[kind](image, options)
}

const makers: Record<ManifestKind, (image: ManifestImage, options: ManifestOptions) => Manifest> = {
  BackingImage: (image, { namespace = longhornNamespace }) => ({
    apiVersion: 'longhorn.io/v1beta2',
    kind: 'BackingImage',
    metadata: { name: image.name, namespace },
    spec: {
      sourceType: 'download',
      sourceParameters: { url: image.url },
      checksum: image.sha512,
      dataEngine: image.dataEngine,
      ...(image.minNumberOfCopies > 0 && { minNumberOfCopies: image.minNumberOfCopies }),
      ...(image.nodeSelector.length > 0 && { nodeSelector: image.nodeSelector }),
      ...(image.diskSelector.length > 0 && { diskSelector: image.diskSelector }),
    },
  }),

  StorageClass: (image) => ({
    apiVersion: 'storage.k8s.io/v1',
    kind: 'StorageClass',
    metadata: { name: className(image) },
    provisioner: 'driver.longhorn.io',
    allowVolumeExpansion: true,
    reclaimPolicy: 'Delete',
    volumeBindingMode: 'Immediate',
    // All of them texts: Kubernetes takes nothing else here.
    parameters: {
      numberOfReplicas: String(usualReplicas),
      staleReplicaTimeout: '2880',
      dataEngine: image.dataEngine,
      backingImage: image.name,
      backingImageDataSourceType: 'download',
      backingImageDataSourceParameters: JSON.stringify({ url: image.url }),
      backingImageChecksum: image.sha512,
      ...(image.minNumberOfCopies > 0 && {
        backingImageMinNumberOfCopies: String(image.minNumberOfCopies),
      }),
      ...(image.nodeSelector.length > 0 && {
        backingImageNodeSelector: image.nodeSelector.join(','),
      }),
      ...(image.diskSelector.length > 0 && {
        backingImageDiskSelector: image.diskSelector.join(','),
      }),
    },
  }),

  PersistentVolumeClaim: (image, options) => ({
    apiVersion: 'v1',
    kind: 'PersistentVolumeClaim',
    metadata: { name: image.name, ...namespaceOf(options) },
    spec: {
      accessModes: ['ReadWriteOnce'],
      // A disk of a machine, whose file systems are its own affair.
      volumeMode: 'Block',
      storageClassName: className(image),
      resources: { requests: { storage: String(volumeBytes(image)) } },
    },
  }),

  VolumeSnapshotClass: (image) => ({
    apiVersion: 'snapshot.storage.k8s.io/v1',
    kind: 'VolumeSnapshotClass',
    metadata: { name: `${className(image)}-snapshots` },
    driver: 'driver.longhorn.io',
    deletionPolicy: 'Delete',
    // A snapshot of this class is a backing image, made from the volume.
    parameters: { type: 'bi', 'export-type': 'qcow2' },
  }),

  Volume: (image, { namespace = longhornNamespace, fromBackup }) => ({
    apiVersion: 'longhorn.io/v1beta2',
    kind: 'Volume',
    metadata: { name: `${image.name}-volume`, namespace },
    spec: {
      size: String(volumeBytes(image)),
      numberOfReplicas: usualReplicas,
      frontend: 'blockdev',
      accessMode: 'rwo',
      dataEngine: image.dataEngine,
      backingImage: image.name,
      ...(fromBackup !== undefined && { fromBackup }),
    },
  }),

  DataVolume: (image, options) => ({
    apiVersion: 'cdi.kubevirt.io/v1beta1',
    kind: 'DataVolume',
    metadata: { name: image.name, ...namespaceOf(options) },
    spec: {
      source: { http: { url: image.url } },
      storage: {
        accessModes: ['ReadWriteOnce'],
        volumeMode: 'Block',
        resources: { requests: { storage: String(volumeBytes(image)) } },
      },
    },
  }),
}

function className({ name }: ManifestImage): string {
  return `longhorn-${name}`
}

/** No volume may be smaller than what a guest sees (contract §8.5). */
function volumeBytes({ virtualSize }: ManifestImage): number {
  return Math.max(1, Math.ceil(virtualSize / volumeUnitBytes)) * volumeUnitBytes
}

function namespaceOf({ namespace }: ManifestOptions): { namespace?: string } {
  return namespace === undefined ? {} : { namespace }
}
