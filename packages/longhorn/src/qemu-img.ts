// qemu-img, which converts images. It is told what it reads, never looks for itself, has nothing but two open
// files, and gets a limited memory and time.

import { execFile, spawn } from 'node:child_process'
import type { FileHandle } from 'node:fs/promises'
import { promisify } from 'node:util'
import { ImageError } from '@backing-image/core'

export interface ImageConversion {
  from: { file: FileHandle; format: 'raw' | 'qcow2' }
  to: { file: FileHandle; format: 'raw' | 'qcow2'; bytesMax: number }
  /** Of the disk that a guest sees, in bytes: the time that is allowed grows with it. */
  size: number
  /** What is converted, for messages: `the export`. */
  what: string
  /** A sentence: what to do when it fails. */
  remedy: string
  signal: AbortSignal
  /** The program. */
  qemuImg: string
}

const run = promisify(execFile)
const addressSpaceKiB = 2 * 1024 * 1024
const timeoutLeastMs = 120_000
/** So slow may storage be. */
const bytesPerMsLeast = 10 * 1024
const wordsLengthMax = 1000
/** Of `ulimit -f`, in a shell that keeps to POSIX. */
const blockBytes = 512
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

/** Rejects with `failed_precondition` and its own words where it can not, or with the signal's reason. */
export async function convertImage(conversion: ImageConversion): Promise<void> {
  const { from, to, size, signal, qemuImg } = conversion
  const timeoutMs = timeoutLeastMs + Math.ceil(size / bytesPerMsLeast)
  const limits = [addressSpaceKiB, timeoutMs / 1000, to.bytesMax / blockBytes].map((each) =>
    String(Math.ceil(each)),
  )
  const command = [qemuImg, 'convert', '-f', from.format, '-O', to.format, fd(3), fd(4)]
  const child = spawn('/bin/sh', ['-c', limited, 'sh', ...limits, ...command], {
    stdio: ['ignore', 'ignore', 'pipe', from.file.fd, to.file.fd],
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
    `qemu-img could not convert ${conversion.what}: it ${how} (it may take ` +
      `${Math.ceil(timeoutMs / 1000)} s and ${Math.ceil(to.bytesMax)} bytes). ${words.trim()} ` +
      conversion.remedy,
  )
}

function fd(number: number): string {
  return `/proc/self/fd/${number}`
}

/** Nothing of ours, where secrets are. */
function environment(): NodeJS.ProcessEnv {
  return { PATH: process.env['PATH'] ?? '', LC_ALL: 'C' }
}
