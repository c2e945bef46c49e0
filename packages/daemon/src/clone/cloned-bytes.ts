// Another image of one that is on the same disk: the same bytes, encrypted ones, or what is in encrypted ones
// (contract §3.7). The sectors are encrypted here, as the kernel would do it: that needs no rights, leaves no
// device behind, and the bytes pass once.

import { constants } from 'node:fs'
import { type FileHandle, open } from 'node:fs/promises'
import { type GuardedDisk, readFlags, readObject } from '@backing-image/backend-local'
import { type Bytes, ImageError, orUndefined } from '@backing-image/core'
import { convertImage } from '@backing-image/longhorn'
import { shapeOf } from '../shape.ts'
import { type Encryption, encryptionOf, passphraseOf } from './credential.ts'
import { type DataSegment, headerBytes, makeHeader, openSegment, readSegment } from './luks.ts'
import { type SectorCipher, unitBytes } from './sector-cipher.ts'

export interface CloneOptions {
  disk: GuardedDisk
  /** The file that is cloned. */
  source: string
  /** Begins the paths of files that are needed for a while, where there is room for an image. */
  scratch: string
  /** `ignore`, `encrypt` or `decrypt`. */
  encryption: string
  /** The passphrase, and how to encrypt, by Longhorn's names. */
  credential: Readonly<Record<string, string>>
  signal: AbortSignal
}

export interface Clone {
  /** In bytes. */
  size: number
  /** Chunks that are valid until the next one is asked for. */
  bytes: Bytes
}

const pieceBytes = 1024 * 1024
const { O_RDWR, O_CREAT, O_EXCL, O_NOFOLLOW } = constants
const scratchFlags = O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW

/** Rejects for a credential, a cipher, a passphrase or a source that can not be used. */
export async function clonedBytes(options: CloneOptions): Promise<Clone> {
  const { disk, source, encryption, signal } = options
  const size = Number((await disk.lstat(source)).size)
  switch (encryption) {
    case 'ignore':
      return { size, bytes: await readObject(disk, source, source, { lend: true, signal }) }
    case 'encrypt':
      return await encrypted(options, size)
    case 'decrypt':
      return await decrypted(options, size)
    default:
      throw new ImageError(
        'invalid_argument',
        `encryption operation ${JSON.stringify(encryption.slice(0, 80))} is not specified: encrypt, ` +
          'decrypt or ignore is expected',
      )
  }
}

/** All sectors, zeros too: which of them hold data is nobody's business. */
async function encrypted(options: CloneOptions, fileBytes: number): Promise<Clone> {
  const { disk, source, credential } = options
  const passphrase = passphraseOf(credential)
  const encryption = encryptionOf(credential)
  const { isQcow2, virtualSize } = await shapeOf(disk, source)
  const size = isQcow2 ? Math.ceil(virtualSize / unitBytes) * unitBytes : fileBytes
  assertSectors(size, unitBytes)
  const { header, cipher } = await newHeader(options, passphrase, encryption)
  async function* bytes(): AsyncGenerator<Uint8Array, void, undefined> {
    for (let at = 0; at < headerBytes; at += pieceBytes) yield header.subarray(at, at + pieceBytes)
    const content = isQcow2 ? unpacked(options, size) : partOf(options, source, 0, size)
    let unit = 0
    for await (const piece of content) {
      yield cipher.encrypt(piece, unit)
      unit += piece.length / unitBytes
    }
  }
  return { size: headerBytes + size, bytes: bytes() }
}

async function decrypted(options: CloneOptions, fileBytes: number): Promise<Clone> {
  const { disk, source, credential, signal } = options
  const passphrase = passphraseOf(credential)
  const file = await disk.open(source, readFlags)
  let segment: DataSegment
  let cipher: SectorCipher
  try {
    segment = await readSegment({ file, signal })
    cipher = await openSegment({ file, signal }, passphrase, segment)
  } finally {
    await file.close()
  }
  const { offsetBytes, sectorBytes, firstUnit } = segment
  const size = fileBytes - offsetBytes
  assertSectors(size, sectorBytes)
  async function* bytes(): AsyncGenerator<Uint8Array, void, undefined> {
    let unit = firstUnit
    for await (const piece of partOf(options, source, offsetBytes, fileBytes)) {
      yield cipher.decrypt(piece, unit)
      unit += piece.length / unitBytes
    }
  }
  return { size, bytes: bytes() }
}

/** Of a scratch file without a name. */
async function newHeader(
  { disk, scratch, signal }: CloneOptions,
  passphrase: string,
  encryption: Encryption,
): Promise<{ header: Uint8Array; cipher: SectorCipher }> {
  const path = `${scratch}.luks`
  await orUndefined(disk.unlink(path))
  const file = await disk.open(path, scratchFlags, 0o600)
  try {
    await disk.unlink(path)
    // cryptsetup wants room for data, too.
    await file.truncate(headerBytes + unitBytes)
    const luks = { file, signal }
    await makeHeader(luks, passphrase, encryption)
    const segment = await readSegment(luks)
    // Also shows that the passphrase opens what was made.
    const cipher = await openSegment(luks, passphrase, segment)
    const header = Buffer.allocUnsafeSlow(headerBytes)
    let filled = 0
    for (let got = 1; filled < headerBytes && got > 0; filled += got) {
      got = await file.read(header.subarray(filled), filled)
    }
    if (filled < headerBytes) throw new ImageError('internal', 'cryptsetup made a short header.')
    return { header, cipher }
  } finally {
    await file.close()
  }
}

/** What a guest sees of a qcow2 image. */
async function* unpacked(
  options: CloneOptions,
  size: number,
): AsyncGenerator<Uint8Array, void, undefined> {
  const { disk, source, scratch, signal } = options
  const path = `${scratch}.raw`
  const handles: FileHandle[] = []
  await orUndefined(disk.unlink(path))
  try {
    const from = await open(source, readFlags)
    handles.push(from)
    const to = await open(path, scratchFlags, 0o600)
    handles.push(to)
    await convertImage({
      from: { file: from, format: 'qcow2' },
      to: { file: to, format: 'raw', bytesMax: size },
      size,
      what: 'the image that is encrypted',
      remedy: 'Look at the image, and at the memory and the room of this disk.',
      signal,
      qemuImg: 'qemu-img',
    })
    yield* partOf(options, path, 0, size)
  } finally {
    for (const handle of handles) await handle.close()
    await orUndefined(disk.unlink(path))
  }
}

/** From `start` to before `end`. */
async function* partOf(
  { disk, signal }: CloneOptions,
  path: string,
  start: number,
  end: number,
): AsyncGenerator<Uint8Array, void, undefined> {
  yield* await readObject(disk, path, path, { range: { start, end: end - 1 }, lend: true, signal })
}

function assertSectors(size: number, sectorBytes: number): void {
  if (size > 0 && size % sectorBytes === 0) return
  throw new ImageError(
    'failed_precondition',
    `The image has ${size} bytes of data: whole sectors of ${sectorBytes} bytes are expected.`,
  )
}
