// An export that was asked for as qcow2 and comes raw (contract §6.2) is converted here, from one file
// without a name into another.

import { createHash } from 'node:crypto'
import type { FileHandle } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { type Bytes, FormatInspector, ImageError, type Opening } from '@backing-image/core'
import { convertImage } from './qemu-img.ts'
import { assertScratchRoom, bytesOfFile, openNameless, writeSparse } from './scratch.ts'

export interface Conversion {
  /** Of the raw image, in bytes. */
  size: number
  /** Its SHA-512 as hex, or the bytes are refused. */
  sha512: string
  signal: AbortSignal
  qemuImg: string
  /** Where there is room for both images. */
  folder?: string
}

/** What qcow2 needs beside the data: 8 bytes for each 64 KiB, and the same again. */
const overheadShare = 1 / 1024
const overheadBytes = 16 * 1024 * 1024
const blockBytes = 512

/** What is to be stored of an export: as it comes where it is qcow2, else converted. */
export async function toQcow2(
  bytes: Bytes,
  conversion: Conversion,
): Promise<Pick<Opening, 'size' | 'bytes' | 'expected' | 'warnings' | 'format'>> {
  const { size, sha512, folder = tmpdir() } = conversion
  const raw = await openNameless(folder)
  let made: FileHandle | undefined
  try {
    const format = await receive(raw, bytes, { ...conversion, folder })
    if (format === 'qcow2') {
      return { size, bytes: bytesOfFile(raw), expected: [`sha512:${sha512}`], format }
    }
    const { blocks } = await raw.stat()
    await assertScratchRoom(folder, blocks * blockBytes + overheadBytes)
    made = await openNameless(folder)
    await convertImage({
      from: { file: raw, format: 'raw' },
      to: { file: made, format: 'qcow2', bytesMax: size * (1 + overheadShare) + overheadBytes },
      size,
      what: 'the export',
      remedy: 'Ask for "export-type": "raw" instead.',
      signal: conversion.signal,
      qemuImg: conversion.qemuImg,
    })
    await raw.close()
    const { size: madeBytes } = await made.stat()
    const warning =
      'Longhorn gave the volume as raw although qcow2 was asked for; it was converted here, by qemu-img, ' +
      `from ${size} bytes with the SHA-512 ${sha512}.`
    const result = { size: madeBytes, bytes: bytesOfFile(made), expected: [], warnings: [warning] }
    return { ...result, format: 'qcow2' }
  } catch (error) {
    await raw.close()
    await made?.close()
    throw error
  }
}

/** Verified, and looked at by our own eyes, before any program sees it. */
async function receive(
  file: FileHandle,
  bytes: Bytes,
  { size, sha512, folder }: Conversion & { folder: string },
): Promise<string> {
  const inspector = new FormatInspector()
  const hash = createHash('sha512')
  await writeSparse(file, bytes, {
    folder,
    size,
    onChunk: (chunk) => {
      inspector.write(chunk)
      hash.update(chunk)
    },
  })
  const found = hash.digest('hex')
  if (found !== sha512) {
    throw new ImageError(
      'data_loss',
      `The export has the SHA-512 ${found}; Longhorn says ${sha512}. Nothing was stored.`,
      {
        reason: 'checksum_mismatch',
        expected: `sha512:${sha512}`,
        actual: `sha512:${found}`,
      },
    )
  }
  return inspector.end().format
}
