// qcow2 files made in memory, of which each field can be set to a lie.

/** What a qcow2 header says; each field is written as it is given, however wrong. */
export interface Qcow2Fields {
  magic: string
  version: number
  backingFileOffset: number | bigint
  backingFileSize: number
  clusterBits: number
  /** The guest's disk in bytes. */
  size: number | bigint
  cryptMethod: number
  l1Size: number
  l1TableOffset: number | bigint
  refcountTableOffset: number | bigint
  refcountTableClusters: number
  snapshots: number
  snapshotsOffset: number | bigint
  incompatibleFeatures: bigint
  compatibleFeatures: bigint
  autoclearFeatures: bigint
  refcountOrder: number
  headerLength: number
  compressionType: number
  /** Header extensions, before the end mark. `length` may lie about the content. */
  extensions: { type: number; content: Uint8Array | string; length?: number }[]
  /** Written at the end of the header's cluster, and named by the two fields above. */
  backingFile: string
}

/** The header's cluster of a sound, empty 1 MiB image in 512-byte clusters, but for `overrides`. */
export function qcow2Header(overrides: Partial<Qcow2Fields> = {}): Buffer {
  const clusterBits = overrides.clusterBits ?? 9
  const clusterBytes = 2 ** (clusterBits >= 9 && clusterBits <= 21 ? clusterBits : 9)
  const size = overrides.size ?? 1024 * 1024
  const incompatible = overrides.incompatibleFeatures ?? 0n
  const entryBytes = incompatible & 16n ? 16 : 8
  const backingFile = Buffer.from(overrides.backingFile ?? '')
  const fields: Omit<Qcow2Fields, 'extensions' | 'backingFile'> = {
    magic: 'QFI\xfb',
    version: 3,
    backingFileOffset: backingFile.length > 0 ? clusterBytes - backingFile.length : 0,
    backingFileSize: backingFile.length,
    clusterBits,
    size,
    cryptMethod: 0,
    l1Size: Math.min(
      Math.ceil(Number(size) / (clusterBytes * (clusterBytes / entryBytes))),
      0xffffffff,
    ),
    l1TableOffset: 3 * clusterBytes,
    refcountTableOffset: clusterBytes,
    refcountTableClusters: 1,
    snapshots: 0,
    snapshotsOffset: 0,
    incompatibleFeatures: incompatible,
    compatibleFeatures: 0n,
    autoclearFeatures: 0n,
    refcountOrder: 4,
    headerLength: 112,
    compressionType: 0,
    ...overrides,
  }
  const cluster = Buffer.alloc(clusterBytes)
  cluster.write(fields.magic, 0, 'latin1')
  cluster.writeUInt32BE(fields.version, 4)
  cluster.writeBigUInt64BE(BigInt(fields.backingFileOffset), 8)
  cluster.writeUInt32BE(fields.backingFileSize, 16)
  cluster.writeUInt32BE(fields.clusterBits, 20)
  cluster.writeBigUInt64BE(BigInt(fields.size), 24)
  cluster.writeUInt32BE(fields.cryptMethod, 32)
  cluster.writeUInt32BE(fields.l1Size, 36)
  cluster.writeBigUInt64BE(BigInt(fields.l1TableOffset), 40)
  cluster.writeBigUInt64BE(BigInt(fields.refcountTableOffset), 48)
  cluster.writeUInt32BE(fields.refcountTableClusters, 56)
  cluster.writeUInt32BE(fields.snapshots, 60)
  cluster.writeBigUInt64BE(BigInt(fields.snapshotsOffset), 64)
  if (fields.version !== 2) writeVersion3(cluster, fields)
  writeExtensions(
    cluster,
    fields.version === 2 ? 72 : fields.headerLength,
    overrides.extensions ?? [],
  )
  backingFile.copy(cluster, clusterBytes - backingFile.length)
  return cluster
}

function writeVersion3(
  cluster: Buffer,
  fields: Omit<Qcow2Fields, 'extensions' | 'backingFile'>,
): void {
  cluster.writeBigUInt64BE(fields.incompatibleFeatures, 72)
  cluster.writeBigUInt64BE(fields.compatibleFeatures, 80)
  cluster.writeBigUInt64BE(fields.autoclearFeatures, 88)
  cluster.writeUInt32BE(fields.refcountOrder, 96)
  cluster.writeUInt32BE(fields.headerLength, 100)
  if (fields.headerLength > 104) cluster.writeUInt8(fields.compressionType, 104)
}

function writeExtensions(
  cluster: Buffer,
  start: number,
  extensions: Qcow2Fields['extensions'],
): void {
  let offset = start
  for (const { type, content, length } of extensions) {
    const bytes = Buffer.from(content)
    cluster.writeUInt32BE(type, offset)
    cluster.writeUInt32BE(length ?? bytes.length, offset + 4)
    bytes.copy(cluster, offset + 8)
    offset += 8 + Math.ceil(bytes.length / 8) * 8
  }
}

/**
 * A whole qcow2 file: header, reference count table, its one block, L1 table. Without `overrides`
 * `qemu-img check` finds no error in it, and its disk reads as zeros.
 */
export function qcow2Image(overrides: Partial<Qcow2Fields> = {}): Buffer {
  const header = qcow2Header(overrides)
  const clusterBytes = header.length
  const l1Clusters = Math.max(1, Math.ceil((header.readUInt32BE(36) * 8) / clusterBytes))
  // A lie about the L1 table must not make a huge file.
  const clusters = 3 + Math.min(l1Clusters, Math.ceil((1024 * 1024) / clusterBytes))
  const image = Buffer.alloc(clusters * clusterBytes)
  header.copy(image)
  image.writeBigUInt64BE(BigInt(2 * clusterBytes), clusterBytes)
  // Reference counts of 16 bits: every cluster of the file is used once.
  const counted = Math.min(clusters, clusterBytes / 2)
  for (let index = 0; index < counted; index += 1) {
    image.writeUInt16BE(1, 2 * clusterBytes + 2 * index)
  }
  return image
}
