// An export that was asked for as qcow2 and comes raw (contract §6.2) is converted here. qemu-img is told
// what it reads, never looks for itself, and gets two files without names, a limited memory and time.

import { execFile, spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import type { FileHandle } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { promisify } from 'node:util'
import { type Bytes, FormatInspector, ImageError, type Opening } from '@backing-image/core'
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

const run = promisify(execFile)
const addressSpaceKiB = 2 * 1024 * 1024
const timeoutLeastMs = 120_000
/** So slow may storage be. */
const bytesPerMsLeast = 10 * 1024
/** What qcow2 needs beside the data: 8 bytes for each 64 KiB, and the same again. */
const overheadShare = 1 / 1024
const overheadBytes = 16 * 1024 * 1024
const blockBytes = 512
const wordsLengthMax = 1000
const limited = 'ulimit -v "$1" && ulimit -t "$2" && ulimit -f "$3" && shift 3 && exec "$@"'

/** Throws `invalid_argument` where there is no such program. */
export async function assertConverter(qemuImg: string): Promise<void> {
  try {
    await run(qemuImg, ['--version'], { timeout: timeoutLeastMs, env: environment() })
  } catch (cause) {
    throw new ImageError(
      'invalid_argument',
      `An export as qcow2 needs ${qemuImg}, which can not be run on this server: Longhorn gives volumes as ` +
        'raw. Install it (Debian: qemu-utils), or ask for "export-type": "raw".',
      { cause },
    )
  }
}

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
    await convert(raw, made, conversion)
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

/** By descriptors: neither file has a name, so that both go with the last process that has them open. */
async function convert(
  from: FileHandle,
  to: FileHandle,
  { size, signal, qemuImg }: Conversion,
): Promise<void> {
  const timeoutMs = timeoutLeastMs + Math.ceil(size / bytesPerMsLeast)
  const sizeMax = size * (1 + overheadShare) + overheadBytes
  const limits = [addressSpaceKiB, timeoutMs / 1000, sizeMax / blockBytes].map((each) =>
    String(Math.ceil(each)),
  )
  const command = [qemuImg, 'convert', '-f', 'raw', '-O', 'qcow2', fd(3), fd(4)]
  const child = spawn('/bin/sh', ['-c', limited, 'sh', ...limits, ...command], {
    stdio: ['ignore', 'ignore', 'pipe', from.fd, to.fd],
    env: environment(),
    signal,
    timeout: timeoutMs,
    killSignal: 'SIGKILL',
  })
  let words = ''
  child.stderr?.on('data', (chunk: Buffer) => {
    words = (words + chunk.toString()).slice(0, wordsLengthMax)
  })
  // An abort is told by the signal, and only once the process has gone.
  child.on('error', (error) => (words ||= error.message))
  const [code, killedBy] = await new Promise<[number | null, string | null]>((resolve) => {
    child.on('close', (...how) => resolve(how))
  })
  signal.throwIfAborted()
  if (code === 0) return
  const how = killedBy === null ? `ended with ${code}` : `was ended by ${killedBy}`
  throw new ImageError(
    'failed_precondition',
    `qemu-img could not convert the export: it ${how} (it may take ${Math.ceil(timeoutMs / 1000)} s and ` +
      `${Math.ceil(sizeMax)} bytes). ${words.trim()} Ask for "export-type": "raw" instead.`,
  )
}

function fd(number: number): string {
  return `/proc/self/fd/${number}`
}

/** Nothing of ours, where secrets are. */
function environment(): NodeJS.ProcessEnv {
  return { PATH: process.env['PATH'] ?? '', LC_ALL: 'C' }
}
