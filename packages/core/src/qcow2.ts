// What a qcow2 header (versions 2 and 3) says, and whether it can be believed. Nothing is followed:
// an image that needs another file, a key or a feature that we do not know is refused, and so is one
// whose header lies. Byte offsets and limits are those of QEMU's docs/interop/qcow2 specification.

import { ImageError } from './errors.ts'

/** How much of a file's beginning readQcow2 must be given, where the file is that long. */
export const qcow2HeadBytes: number = 64 * 1024

/** A qcow2 header that has passed every check that needs no more than the header. */
export interface Qcow2 {
  /** The guest's disk in bytes: a positive multiple of 512, at most 2^53 - 1. */
  virtualSize: number
  warnings: string[]
  /** Where each table ends, in bytes from the file's beginning. */
  tables: { what: string; end: number }[]
}

// The limits that QEMU itself has; what is beyond them no QEMU opens.
const clusterBitsMin = 9
const clusterBitsMax = 21
const l1BytesMax = 32 * 1024 * 1024
const refcountTableBytesMax = 8 * 1024 * 1024
const snapshotsMax = 65536
/** The smallest entry of a snapshot table. */
const snapshotBytesMin = 40

const dirtyBit = 1n << 0n
const corruptBit = 1n << 1n
const dataFileBit = 1n << 2n
const compressionTypeBit = 1n << 3n
const extendedL2Bit = 1n << 4n
const knownBits = dirtyBit | corruptBit | dataFileBit | compressionTypeBit | extendedL2Bit
/** Of the auto-clear features: the external data file is a raw image by itself. */
const rawDataFileBit = 1n << 1n

const endExtension = 0
const encryptionExtension = 0x0537be77
const dataFileExtension = 0x44415441

export function isQcow2(head: Uint8Array): boolean {
  return head[0] === 0x51 && head[1] === 0x46 && head[2] === 0x49 && head[3] === 0xfb
}

/**
 * Reads the header of a file that isQcow2; `head` is the file's beginning, `qcow2HeadBytes` or all of
 * it. Throws an ImageError with the reason `unsafe_image`, or `unsupported_format` for a version that
 * is not 2 or 3. The file's length is not known yet: assertTablesWithin is the other half.
 */
export function readQcow2(head: Uint8Array): Qcow2 {
  const view = new DataView(head.buffer, head.byteOffset, head.byteLength)
  const version = head.length < 8 ? undefined : view.getUint32(4)
  if (version !== undefined && version !== 2 && version !== 3) {
    throw new ImageError(
      'invalid_argument',
      `This is a QCOW image of version ${version}; only versions 2 and 3 are stored. Convert it ` +
        'first: `qemu-img convert -O qcow2 FILE NEW`.',
      { reason: 'unsupported_format' },
    )
  }
  const leastBytes = version === 2 ? 72 : 104
  if (version === undefined || head.length < leastBytes) throw truncated(head.length)
  const clusterBits = view.getUint32(20)
  if (clusterBits < clusterBitsMin || clusterBits > clusterBitsMax) {
    throw lie(`clusters of 2^${clusterBits} bytes, where 2^9 to 2^21 are possible`)
  }
  assertNoBackingFile(view, head)
  assertNotEncrypted(view)
  const incompatible = version === 2 ? 0n : view.getBigUint64(72)
  const autoclear = version === 2 ? 0n : view.getBigUint64(88)
  assertFeatures(incompatible)
  const headerLength = version === 2 ? 72 : readHeaderLength(view, incompatible, 2 ** clusterBits)
  // The extensions come first, for they can name the data file.
  assertExtensions(view, head, headerLength, 2 ** clusterBits)
  if (incompatible & dataFileBit || autoclear & rawDataFileBit) throw dataFileNeeded('')
  return {
    ...readTables(view, clusterBits, incompatible),
    warnings: warningsOf(view, incompatible),
  }
}

/** Throws `unsafe_image` unless every table lies within a file of `size` bytes. */
export function assertTablesWithin(qcow2: Qcow2, size: number): void {
  for (const { what, end } of qcow2.tables) {
    if (end > size) {
      throw unsafe(
        `The qcow2 header puts the ${what} up to byte ${end}, but the file ends at byte ${size}. ` +
          'It was probably cut short: transfer it again and compare its checksum.',
      )
    }
  }
}

function unsafe(message: string): ImageError {
  return new ImageError('failed_precondition', message, { reason: 'unsafe_image' })
}

function truncated(length: number): ImageError {
  return unsafe(
    `The qcow2 header is cut short: the file ends after ${length} bytes. Transfer it again and ` +
      'compare its checksum.',
  )
}

function lie(claim: string): ImageError {
  return unsafe(
    `The qcow2 header claims ${claim}. The file is damaged or was made to deceive: fetch it again ` +
      'from its source and compare its checksum.',
  )
}

function assertNoBackingFile(view: DataView, head: Uint8Array): void {
  // Without an offset the length is undefined by the specification, and no reader looks at it.
  const offset = view.getBigUint64(8)
  if (offset === 0n) return
  const length = view.getUint32(16)
  const named = offset + BigInt(length) <= BigInt(head.length) && length > 0 && length <= 1023
  const start = Number(offset)
  const name = named ? ` ${quote(head.subarray(start, start + length))}` : ''
  throw unsafe(
    `The qcow2 image needs the backing file${name}, which is not part of it. Make it whole first: ` +
      '`qemu-img convert -O qcow2 FILE NEW`, or `qemu-img rebase -b "" FILE`.',
  )
}

function assertNotEncrypted(view: DataView): void {
  const method = view.getUint32(32)
  if (method === 0) return
  if (method > 2) throw lie(`the encryption method ${method}, which does not exist`)
  throw unsafe(
    `The qcow2 image is encrypted (${method === 1 ? 'AES' : 'LUKS'}), so no virtual machine can ` +
      'start from it without its key. Decrypt it first: `qemu-img convert -O qcow2 --object ' +
      'secret,id=key,file=KEYFILE --image-opts driver=qcow2,file.filename=FILE,' +
      `encrypt.${method === 1 ? '' : 'format=luks,encrypt.'}key-secret=key NEW\`.`,
  )
}

function assertFeatures(incompatible: bigint): void {
  const unknown = incompatible & ~knownBits
  if (unknown !== 0n) {
    const bits = Array.from({ length: 64 }, (_, bit) => bit)
    const named = bits.filter((bit) => (unknown >> BigInt(bit)) & 1n)
    throw unsafe(
      `The qcow2 image uses the incompatible feature bit ${named.join(', ')}, which is not known ` +
        'here. Write it without: `qemu-img convert -O qcow2 FILE NEW`.',
    )
  }
  if (incompatible & corruptBit) {
    throw unsafe(
      'The qcow2 image is marked as corrupt. Repair it first with `qemu-img check -r all FILE`, and ' +
        'look at what is lost.',
    )
  }
}

function dataFileNeeded(name: string): ImageError {
  return unsafe(
    `The qcow2 image keeps its data in another file${name}, which is not part of it. Make it whole ` +
      'first: `qemu-img convert -O qcow2 FILE NEW`.',
  )
}

function readHeaderLength(view: DataView, incompatible: bigint, clusterBytes: number): number {
  const order = view.getUint32(96)
  if (order > 6) throw lie(`reference counts of 2^${order} bits, where 2^6 is the most`)
  const length = view.getUint32(100)
  if (length < 104 || length % 8 !== 0 || length > Math.min(clusterBytes, qcow2HeadBytes)) {
    throw lie(`to be ${length} bytes long, where a multiple of 8 from 104 to a cluster is expected`)
  }
  if (length > view.byteLength) throw truncated(view.byteLength)
  // An absent field is zero, which is zlib; the bit is set for everything else.
  const compression = length > 104 ? view.getUint8(104) : 0
  if (compression > 1) throw lie(`the compression type ${compression}, which is not known here`)
  if ((compression !== 0) !== ((incompatible & compressionTypeBit) !== 0n)) {
    throw lie(`the compression type ${compression} and a feature bit that contradicts it`)
  }
  return length
}

/** Walks the header extensions: at most 64 KiB, so at most 8,192 steps. */
function assertExtensions(
  view: DataView,
  head: Uint8Array,
  headerLength: number,
  clusterBytes: number,
): void {
  const areaEnd = Math.min(clusterBytes, qcow2HeadBytes)
  let offset = headerLength
  for (;;) {
    if (offset + 8 > areaEnd) throw lie('header extensions that do not end where they must')
    if (offset + 8 > view.byteLength) throw truncated(view.byteLength)
    const type = view.getUint32(offset)
    const length = view.getUint32(offset + 4)
    const start = offset + 8
    // Of the end mark, too: QEMU looks at the length first.
    if (start + length > areaEnd) throw lie('header extensions that do not end where they must')
    if (type === endExtension) return
    if (type === dataFileExtension) {
      throw dataFileNeeded(` ${quote(head.subarray(start, start + length))}`)
    }
    if (type === encryptionExtension) throw lie('an encryption header, but no encryption')
    offset = start + Math.ceil(length / 8) * 8
  }
}

function readTables(
  view: DataView,
  clusterBits: number,
  incompatible: bigint,
): Omit<Qcow2, 'warnings'> {
  const clusterBytes = 2 ** clusterBits
  const virtualSize = readSize(view)

  // One entry of the L1 table stands for one L2 table: a cluster of entries of 8 or 16 bytes.
  const extended = (incompatible & extendedL2Bit) !== 0n
  if (extended && clusterBits < 14) {
    throw lie(`extended L2 entries in clusters of ${clusterBytes} bytes, which are under 16 KiB`)
  }
  const l1Entries = view.getUint32(36)
  const l1Needed = Math.ceil(virtualSize / (clusterBytes * (clusterBytes / (extended ? 16 : 8))))
  if (l1Entries * 8 > l1BytesMax) {
    throw lie(`an L1 table of ${l1Entries} entries, which is over 32 MiB`)
  }
  if (l1Entries < l1Needed) {
    throw lie(`an L1 table of ${l1Entries} entries, where its disk needs ${l1Needed}`)
  }

  const refcountBytes = view.getUint32(56) * clusterBytes
  if (refcountBytes === 0 || refcountBytes > refcountTableBytesMax) {
    throw lie(`a reference count table of ${refcountBytes} bytes, where up to 8 MiB are expected`)
  }
  const snapshots = view.getUint32(60)
  if (snapshots > snapshotsMax) throw lie(`${snapshots} snapshots, where ${snapshotsMax} is most`)

  const end = (what: string, at: number, bytes: number): { what: string; end: number } => ({
    what,
    end: readOffset(view, at, what, clusterBytes) + bytes,
  })
  const tables = [
    end('L1 table', 40, l1Entries * 8),
    end('reference count table', 48, refcountBytes),
  ]
  if (snapshots > 0) tables.push(end('snapshot table', 64, snapshots * snapshotBytesMin))
  // Where no snapshot is, an old place may be left; QEMU still wants it to be that of a cluster.
  else if (view.getBigUint64(64) !== 0n) readOffset(view, 64, 'snapshot table', clusterBytes)
  return { virtualSize, tables }
}

function readSize(view: DataView): number {
  const size = view.getBigUint64(24)
  if (size === 0n || size > BigInt(Number.MAX_SAFE_INTEGER) || size % 512n !== 0n) {
    throw lie(`a disk of ${size} bytes, where a positive multiple of 512 below 2^53 is expected`)
  }
  return Number(size)
}

/** A table begins at a cluster, and never in the first one, which is the header's. */
function readOffset(view: DataView, at: number, what: string, clusterBytes: number): number {
  const offset = view.getBigUint64(at)
  const whole = offset % BigInt(clusterBytes) === 0n
  if (offset === 0n || !whole || offset > BigInt(Number.MAX_SAFE_INTEGER)) {
    throw lie(`a ${what} at byte ${offset}, which is not the beginning of a cluster after it`)
  }
  return Number(offset)
}

function warningsOf(view: DataView, incompatible: bigint): string[] {
  const warnings: string[] = []
  if (incompatible & dirtyBit) {
    warnings.push(
      'The qcow2 image was not closed cleanly (dirty bit): its reference counts may be wrong. ' +
        'Run `qemu-img check -r all FILE` on the original.',
    )
  }
  if (incompatible & extendedL2Bit) {
    warnings.push('The qcow2 image has extended L2 entries, which QEMU before 5.2 can not read.')
  }
  const snapshots = view.getUint32(60)
  if (snapshots > 0) {
    warnings.push(
      `The qcow2 image holds ${snapshots} internal snapshot${snapshots === 1 ? '' : 's'}, which ` +
        'take space and are not used. `qemu-img convert -O qcow2 FILE NEW` leaves them out.',
    )
  }
  return warnings
}

/** Text from an untrusted file, fit for a message: printable ASCII, at most 80 characters. */
function quote(bytes: Uint8Array): string {
  const text = Buffer.from(bytes.subarray(0, 81)).toString('latin1')
  const plain = text.replaceAll(/[^\x20-\x7e]/g, '?')
  return JSON.stringify(plain.length > 80 ? `${plain.slice(0, 80)}...` : plain)
}
