// Disk images made in memory, and a corpus of those that must never be stored. Plain values, for the
// tests of every package.

import type { Reason } from '../errors.ts'
import { qcow2Image, type Qcow2Fields } from './qcow2.ts'

export { qcow2Header, qcow2Image, type Qcow2Fields } from './qcow2.ts'

/** A raw disk with a boot sector: a jump, a partition entry and the signature of an MBR. */
export function rawImage(sizeBytes: number = 1024 * 1024): Buffer {
  const image = Buffer.alloc(sizeBytes)
  image.write('\xeb\x63\x90', 0, 'latin1')
  image.writeUInt8(0x83, 450)
  image.writeUInt16LE(0xaa55, 510)
  return image
}

/** The beginning of an ISO 9660 file system, behind the boot sector that makes it start from USB. */
export function isoImage(sizeBytes: number = 1024 * 1024): Buffer {
  const image = rawImage(sizeBytes)
  image.write('\x01CD001\x01', 32768, 'latin1')
  return image
}

/** The 512 bytes at the end of every VHD (and, of a dynamic one, also at its beginning). */
export function vhdFooter(type: 'fixed' | 'dynamic' = 'fixed'): Buffer {
  const footer = Buffer.alloc(512)
  footer.write('conectix', 0, 'latin1')
  footer.writeUInt32BE(2, 8)
  footer.writeUInt32BE(0x00010000, 12)
  footer.writeBigUInt64BE(type === 'fixed' ? 0xffffffffffffffffn : 512n, 16)
  footer.writeUInt32BE(type === 'fixed' ? 2 : 3, 60)
  return footer
}

/** `text`, one byte a character, at `at` in a file of `sizeBytes` zeros. */
export function withBytes(text: string, at: number = 0, sizeBytes: number = 4096): Buffer {
  const content = Buffer.alloc(sizeBytes)
  content.write(text, at, 'latin1')
  return content
}

export interface HostileImage {
  name: string
  content: Uint8Array
  reason: Reason
}

const vmdkDescriptor = `# Disk DescriptorFile
version=1
CID=fffffffe
parentCID=ffffffff
createType="monolithicFlat"
RW 2048 FLAT "/etc/passwd" 0
`

const lyingHeaders: Record<string, Partial<Qcow2Fields>> = {
  'the backing file /etc/passwd': { backingFile: '/etc/passwd' },
  'a backing file in version 2': { backingFile: '/etc/passwd', version: 2 },
  'a backing file by URL': { backingFile: 'http://169.254.169.254/latest/meta-data' },
  'a backing file as json:': {
    backingFile: 'json:{"driver":"raw","file":{"filename":"/etc/shadow"}}',
  },
  'a backing file without a name': { backingFileOffset: 400 },
  'a backing file far away': { backingFileOffset: 2n ** 63n, backingFileSize: 0xffffffff },
  'a data file by its feature bit': { incompatibleFeatures: 4n },
  'the data file /etc/passwd': {
    incompatibleFeatures: 4n,
    extensions: [{ type: 0x44415441, content: '/etc/passwd' }],
  },
  'a data file named without its bit': {
    extensions: [{ type: 0x44415441, content: '/etc/passwd' }],
  },
  'a data file behind another extension': {
    extensions: [
      { type: 0x12345678, content: 'harmless' },
      { type: 0x44415441, content: '/etc/passwd' },
    ],
  },
  'a data file named in version 2': {
    version: 2,
    extensions: [{ type: 0x44415441, content: '/etc/passwd' }],
  },
  'a raw data file by its auto-clear bit': { autoclearFeatures: 2n },
  'AES encryption': { cryptMethod: 1 },
  'LUKS encryption': { cryptMethod: 2 },
  'an encryption that does not exist': { cryptMethod: 3 },
  'an encryption header without encryption': {
    extensions: [{ type: 0x0537be77, content: Buffer.alloc(16) }],
  },
  'the corrupt bit': { incompatibleFeatures: 2n },
  'an unknown feature': { incompatibleFeatures: 1n << 5n },
  'the last unknown feature': { incompatibleFeatures: 1n << 63n },
  'clusters of one byte': { clusterBits: 0 },
  'clusters of 256 bytes': { clusterBits: 8 },
  'clusters of 4 MiB': { clusterBits: 22 },
  'clusters of 2^4294967295 bytes': { clusterBits: 0xffffffff },
  'a disk of no bytes': { size: 0 },
  'a disk that is no multiple of 512': { size: 1024 * 1024 - 1 },
  'a disk of 2^64 - 512 bytes': { size: 2n ** 64n - 512n },
  'an L1 table of 32 GiB': { l1Size: 0xffffffff },
  'an L1 table just over 32 MiB': { l1Size: 4 * 1024 * 1024 + 1 },
  'an L1 table too small for the disk': { l1Size: 1 },
  'no L1 table': { l1Size: 0 },
  'an L1 table beyond the file': { l1TableOffset: 1024 * 1024 * 1024 },
  'an L1 table beyond 2^63': { l1TableOffset: 2n ** 64n - 512n },
  'an L1 table off the clusters': { l1TableOffset: 1537 },
  'an L1 table in the header': { l1TableOffset: 0 },
  'no reference count table': { refcountTableClusters: 0 },
  'a reference count table of 2 TiB': { refcountTableClusters: 0xffffffff },
  'a reference count table beyond the file': { refcountTableOffset: 2n ** 40n },
  'a reference count table off the clusters': { refcountTableOffset: 520 },
  'reference counts of 128 bits': { refcountOrder: 7 },
  'four thousand million snapshots': { snapshots: 0xffffffff, snapshotsOffset: 512 },
  'a snapshot table beyond the file': { snapshots: 1, snapshotsOffset: 1024 * 1024 * 1024 },
  'no snapshots, at a place off the clusters': { snapshotsOffset: 513 },
  'a header of 0 bytes': { headerLength: 0 },
  'a header of 100 bytes': { headerLength: 100 },
  'a header of 109 bytes': { headerLength: 109 },
  'a header longer than its cluster': { headerLength: 520 },
  'an extension longer than the file': {
    extensions: [{ type: 0x12345678, content: '', length: 0xffffffff }],
  },
  'an end mark longer than the file': {
    extensions: [{ type: 0, content: '', length: 0xffffffff }],
  },
  'an extension up to the end of the cluster': {
    extensions: [{ type: 0x12345678, content: '', length: 512 - 112 - 8 }],
  },
  'an unknown compression': { incompatibleFeatures: 8n, compressionType: 2 },
  'zstd without its feature bit': { compressionType: 1 },
  'the compression bit without a compression': { incompatibleFeatures: 8n },
  'extended L2 entries in small clusters': { incompatibleFeatures: 16n },
}

/** Images that must be refused, each with the reason that a client is told. */
export function hostileImages(): HostileImage[] {
  const unsafe = Object.entries(lyingHeaders).map(([name, overrides]) => ({
    name: `qcow2: ${name}`,
    content: withHeaderLength(overrides),
    reason: 'unsafe_image' as const,
  }))
  const cut = qcow2Image()
  for (const length of [4, 7, 8, 71, 72, 103, 104, 119, 512, 1791]) {
    unsafe.push({
      name: `qcow2: cut short after ${length} bytes`,
      content: cut.subarray(0, length),
      reason: 'unsafe_image',
    })
  }
  const unsupported = Object.entries(foreignFiles()).map(([name, content]) => ({
    name,
    content,
    reason: 'unsupported_format' as const,
  }))
  return [...unsafe, ...unsupported]
}

/** The extensions of a header that lies about its length still begin where a sound one ends. */
function withHeaderLength(overrides: Partial<Qcow2Fields>): Buffer {
  const { headerLength, ...others } = overrides
  const image = qcow2Image(others)
  if (headerLength !== undefined) image.writeUInt32BE(headerLength, 100)
  return image
}

function foreignFiles(): Record<string, Buffer> {
  return {
    'an empty file': Buffer.alloc(0),
    'qcow version 1': qcow2Image({ version: 1 }),
    'qcow version 4': qcow2Image({ version: 4 }),
    gzip: withBytes('\x1f\x8b\x08\x00'),
    'gzip with a name': withBytes('\x1f\x8b\x08\x08\0\0\0\0\0\x03image.raw\0'),
    xz: withBytes('\xfd7zXZ\0'),
    zstd: withBytes('\x28\xb5\x2f\xfd'),
    bzip2: withBytes('BZh91AY&SY'),
    'empty bzip2': withBytes('BZh9\x17rE8P\x90', 0, 14),
    lz4: withBytes('\x04\x22\x4d\x18'),
    lzip: withBytes('LZIP\x01'),
    zip: withBytes('PK\x03\x04\x14'),
    'an empty zip': withBytes('PK\x05\x06', 0, 22),
    '7-Zip': withBytes('7z\xbc\xaf\x27\x1c'),
    RAR: withBytes('Rar!\x1a\x07\x01\0'),
    tar: withBytes('disk.raw', 0, 10240).fill('ustar\0', 257, 263),
    'an OVA': withBytes('machine.ovf', 0, 10240).fill('ustar  \0', 257, 265),
    squashfs: withBytes('hsqs'),
    'big-endian squashfs': withBytes('sqsh'),
    'a sparse VMDK': withBytes('KDMV\x01\0\0\0'),
    'an ESX VMDK': withBytes('COWD\x01\0\0\0'),
    'a VMDK descriptor that names /etc/passwd': Buffer.from(vmdkDescriptor),
    'a VMDK descriptor behind another comment': Buffer.from(
      vmdkDescriptor.replace('Disk DescriptorFile', 'x\n \r\n#'),
    ),
    'a VMDK descriptor without a comment': Buffer.from(
      vmdkDescriptor.split('\n').slice(1).join('\n'),
    ),
    'a VMDK descriptor with zeros behind': withBytes(vmdkDescriptor, 0, 1024 * 1024),
    'a dynamic VHD': Buffer.concat([vhdFooter('dynamic'), Buffer.alloc(4096)]),
    'a fixed VHD': Buffer.concat([rawImage(), vhdFooter()]),
    VHDX: withBytes('vhdxfile'),
    VDI: withBytes('\x7f\x10\xda\xbe', 64),
    QED: withBytes('QED\0'),
    Parallels: withBytes('WithoutFreeSpace'),
    'extended Parallels': withBytes('WithouFreSpacExt'),
    Bochs: withBytes('Bochs Virtual HD Image'),
    cloop: withBytes('#!/bin/sh\n#V2.0 Format\nmodprobe cloop file=$0'),
    'an HTML page': Buffer.from('<!DOCTYPE html><html><title>Sign in</title></html>'),
    'an HTML page behind a mark and blanks': Buffer.from(
      '\ufeff\r\n\t <HTML><body>404</body></HTML>',
    ),
    'an HTML page behind a comment': Buffer.from('<!-- moved --><html></html>'),
    'an XML page': Buffer.from('<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>'),
    'an S3 error': Buffer.from('<Error><Code>NoSuchKey</Code></Error>'),
    'an ISO that begins as gzip': isoImage().fill('\x1f\x8b\x08\0', 0, 4, 'latin1'),
  }
}
