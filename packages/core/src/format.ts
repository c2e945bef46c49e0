// What the bytes of a disk image are, found out while they pass: raw, qcow2 or ISO 9660, and nothing
// else is stored. No tool is ever run on them. What QEMU would take for another format never passes as
// raw, since such a format may name other files; LUKS is the exception, for it can name none.

import { sectorBytes } from './aligned.ts'
import { type Magic, begins, compressions, holds, latin1 } from './compression.ts'
import { ImageError } from './errors.ts'
import { assertTablesWithin, isQcow2, qcow2HeadBytes, readQcow2 } from './qcow2.ts'

export type ImageFormat = 'raw' | 'qcow2' | 'iso'

export interface Inspection {
  format: ImageFormat
  /** The disk that a guest sees, in bytes; for raw and iso the size rounded up to 512, as QEMU does. */
  virtualSize: number
  /** What the owner should know, as sentences; empty for most images. */
  warnings: string[]
}

/** Enough for a qcow2 header with its extensions, and for ISO 9660, which begins at 32 KiB. */
export const headBytes: number = qcow2HeadBytes
/** A fixed VHD is a raw disk and this many bytes after it. */
export const footerBytes = 512

/** What a file is that is not stored, how it is known, and what to do with it. */
interface Foreign extends Magic {
  remedy: string
  /** What to do with one that was inside another. */
  innerRemedy?: string
}

const unpack = (command: string): string =>
  `Unpack it first (\`${command}\`) and send the image itself.`
const convert = (format: string): string =>
  `Convert it first: \`qemu-img convert -f ${format} -O qcow2 FILE NEW\`.`

const foreigners: Foreign[] = [
  ...Object.entries(compressions).map(([command, magic]) => ({
    ...magic,
    remedy:
      `Unpack it first (\`${command} -d FILE\`) and send the image itself, or send it with ` +
      'decompress=auto, which unpacks one layer.',
    innerRemedy:
      'One layer has been unpacked already: unpack the file until only the image is left ' +
      `(\`${command} -d FILE\`), and send that.`,
  })),
  { what: 'an lz4 file', magic: '\x04\x22\x4d\x18', remedy: unpack('lz4 -d FILE') },
  { what: 'an lzip file', magic: 'LZIP\x01', remedy: unpack('lzip -d FILE') },
  {
    what: 'a zip archive',
    magic: 'PK',
    // A file, the end of an empty archive, or the mark of one in parts.
    also: (head) => ['\x03\x04', '\x05\x06', '\x07\x08'].some((mark) => holds(head, 2, mark)),
    remedy: unpack('unzip FILE'),
  },
  { what: 'a 7-Zip archive', magic: '7z\xbc\xaf\x27\x1c', remedy: unpack('7z x FILE') },
  { what: 'a RAR archive', magic: 'Rar!\x1a\x07', remedy: unpack('unrar x FILE') },
  { what: 'a squashfs file system', magic: 'hsqs', remedy: unpack('unsquashfs FILE') },
  { what: 'a squashfs file system', magic: 'sqsh', remedy: unpack('unsquashfs FILE') },
  { what: 'a VMDK disk', magic: 'KDMV', remedy: convert('vmdk') },
  { what: 'a VMDK disk', magic: 'COWD', remedy: convert('vmdk') },
  { what: 'a VHD disk', magic: 'conectix', remedy: convert('vpc') },
  { what: 'a VHDX disk', magic: 'vhdxfile', remedy: convert('vhdx') },
  { what: 'a VDI disk', at: 64, magic: '\x7f\x10\xda\xbe', remedy: convert('vdi') },
  { what: 'a QED disk', magic: 'QED\0', remedy: convert('qed') },
  { what: 'a Parallels disk', magic: 'WithoutFreeSpace', remedy: convert('parallels') },
  { what: 'a Parallels disk', magic: 'WithouFreSpacExt', remedy: convert('parallels') },
  { what: 'a Bochs disk', magic: 'Bochs Virtual HD Image', remedy: convert('bochs') },
  { what: 'a cloop disk', magic: '#!/bin/sh\n#V2.0 Format\n', remedy: convert('cloop') },
]

/** Text that QEMU takes for a VMDK descriptor: comments and blank lines, then the version. */
const vmdkDescriptor = /^(?:#[^\n]*\n|[ \t]*\r?\n)*version\s*=|^\s*#\s*disk descriptorfile/i
const markup = /^(?:\xef\xbb\xbf)?\s*<(?:!--|(?:!doctype|html|head|body|\?xml|error)\b)/i
/** How much of a head is looked at as text. */
const textBytes = 4096

/** Looks at an image's bytes as they pass. */
export class FormatInspector {
  readonly #head = new Uint8Array(headBytes)
  readonly #tail = new Uint8Array(footerBytes)
  readonly #isUnpacked: boolean
  #size = 0

  /** `isUnpacked`: the bytes come out of a file that was compressed. */
  constructor({ isUnpacked = false }: { isUnpacked?: boolean } = {}) {
    this.#isUnpacked = isUnpacked
  }

  /**
   * Takes the next bytes, which are only read during the call. Throws an ImageError, with the reason
   * `unsafe_image` or `unsupported_format`, as soon as the head tells that the image can not be
   * stored; a caller that goes on is told the same by `end`.
   */
  write(chunk: Uint8Array): void {
    const before = this.#size
    this.#size += chunk.length
    this.#keepTail(chunk)
    if (before >= headBytes) return
    this.#head.set(chunk.subarray(0, headBytes - before), before)
    if (this.#size >= headBytes) inspectHead(this.#head, this.#isUnpacked)
  }

  /** Passes over bytes of a file that is there already: neither of its first `headBytes` nor the last 512. */
  skip(lengthBytes: number): void {
    this.#size += lengthBytes
  }

  /** The verdict, once all bytes have passed. Throws an ImageError as `write` does. */
  end(): Inspection {
    if (this.#size === 0) throw unsupported('an empty file', 'Send the bytes of an image.')
    const head = this.#head.subarray(0, this.#size)
    const qcow2 = inspectHead(head, this.#isUnpacked)
    const warnings = sizeWarnings(this.#size)
    if (qcow2) {
      assertTablesWithin(qcow2, this.#size)
      const { virtualSize } = qcow2
      return { format: 'qcow2', virtualSize, warnings: [...qcow2.warnings, ...warnings] }
    }
    if (this.#size >= footerBytes && isVhdFooter(this.#tail)) {
      throw unsupported('a fixed VHD disk', convert('vpc'))
    }
    const virtualSize = Math.ceil(this.#size / sectorBytes) * sectorBytes
    return { format: isIso(head) ? 'iso' : 'raw', virtualSize, warnings }
  }

  #keepTail(chunk: Uint8Array): void {
    const tail = this.#tail
    const kept = chunk.subarray(-footerBytes)
    tail.copyWithin(0, kept.length)
    tail.set(kept, footerBytes - kept.length)
  }
}

/** The verdict on bytes that are all in memory. Throws an ImageError as FormatInspector does. */
export function inspect(content: Uint8Array): Inspection {
  const inspector = new FormatInspector()
  inspector.write(content)
  return inspector.end()
}

/**
 * Throws unless a file that begins so may be stored; gives the header when it is qcow2. The order
 * matters where a file is two things at once: what QEMU would open as a format of its own comes
 * first, for that is what a reader of the stored file will do.
 */
function inspectHead(
  head: Uint8Array,
  isUnpacked: boolean,
): ReturnType<typeof readQcow2> | undefined {
  if (isQcow2(head)) return readQcow2(head)
  for (const foreigner of foreigners) {
    if (!begins(head, foreigner)) continue
    const { what, remedy, innerRemedy = remedy } = foreigner
    throw unsupported(what, isUnpacked ? innerRemedy : remedy)
  }
  const text = latin1(head, textBytes)
  if (vmdkDescriptor.test(text)) {
    throw unsupported(
      'a VMDK descriptor, which holds no data but names the files that do',
      `Where those are, convert it: \`qemu-img convert -f vmdk -O qcow2 FILE NEW\`.`,
    )
  }
  if (markup.test(text)) {
    throw unsupported(
      'an HTML or XML page, such as a server sends instead of an image',
      'Look at what the URL gives (`curl -L URL | head`) and fetch the image itself.',
    )
  }
  // An ISO's first 32 KiB are free for boot code, so what "ustar" in them means is decided by the
  // volume descriptor. No tar that holds an ISO has it at this place: its own header comes before.
  if (!isIso(head) && holds(head, 257, 'ustar')) {
    throw unsupported(
      'a tar archive (an OVA is one)',
      'Unpack it first (`tar -xf FILE`) and send the disk inside; a VMDK must be converted with ' +
        '`qemu-img convert -f vmdk -O qcow2 DISK NEW`.',
    )
  }
  return undefined
}

/** ECMA-119 §8.1: the first volume descriptor is at sector 16 of 2,048 bytes, after its type. */
function isIso(head: Uint8Array): boolean {
  return holds(head, 32769, 'CD001')
}

/** A VHD footer: its cookie, the feature bit that is always set, version 1.0 and a disk's type. */
function isVhdFooter(tail: Uint8Array): boolean {
  const view = new DataView(tail.buffer, tail.byteOffset, tail.byteLength)
  const type = view.getUint32(60)
  return (
    holds(tail, 0, 'conectix') &&
    (view.getUint32(8) & ~1) === 2 &&
    view.getUint32(12) === 0x00010000 &&
    type >= 2 &&
    type <= 4
  )
}

function sizeWarnings(size: number): string[] {
  if (size % sectorBytes === 0) return []
  return [
    `The image has ${size} bytes, but Longhorn takes only multiples of ${sectorBytes}. Before it is ` +
      `uploaded, \`truncate -s %${sectorBytes} FILE\` fills it up with zeros.`,
  ]
}

function unsupported(what: string, remedy: string): ImageError {
  return new ImageError('invalid_argument', `This is ${what}, which is not stored. ${remedy}`, {
    reason: 'unsupported_format',
  })
}
