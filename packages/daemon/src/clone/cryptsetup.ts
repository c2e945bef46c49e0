// cryptsetup, which knows the headers of encrypted disks. It gets one open file, the passphrase on its
// standard input and nothing else of ours; a limited memory and time; and needs no rights and no device.

import { spawn } from 'node:child_process'
import { ImageError } from '@backing-image/core'
import pLimit from 'p-limit'

export interface Order {
  /** `file` stands for the open file among them. */
  args: string[]
  file: { fd: number }
  passphrase?: string
  signal: AbortSignal
}

/** Its name for the file. */
export const file = '/proc/self/fd/3'
/** A key is derived with up to 4 GiB, by a header that anybody may have made. */
const addressSpaceKiB = 5 * 1024 * 1024
/** That takes seconds, and more where others work, too. */
const timeoutMs = 120_000
/** The largest metadata of LUKS2 have 4 MiB. */
const outputBytesMax = 5 * 1024 * 1024
const wordsLengthMax = 1000
const limited = 'ulimit -v "$1" && shift && exec "$@"'
/** What it takes is memory: others wait. */
const oneAtATime = pLimit(1)

/** What it wrote. Rejects with its own words, or with the signal's reason. */
export async function cryptsetup(order: Order): Promise<string> {
  return await oneAtATime(async () => {
    order.signal.throwIfAborted()
    return await run(order)
  })
}

async function run({ args, file: { fd }, passphrase = '', signal }: Order): Promise<string> {
  const command = ['-c', limited, 'sh', String(addressSpaceKiB), 'cryptsetup', ...args]
  const child = spawn('/bin/sh', command, {
    stdio: ['pipe', 'pipe', 'pipe', fd],
    // Nothing of ours, where secrets are.
    env: { PATH: process.env['PATH'] ?? '', LC_ALL: 'C' },
    signal,
    timeout: timeoutMs,
    killSignal: 'SIGKILL',
  })
  let output = ''
  let words = ''
  child.stdout?.setEncoding('latin1').on('data', (text: string) => {
    output += text
    if (output.length > outputBytesMax) child.kill('SIGKILL')
  })
  child.stderr?.setEncoding('latin1').on('data', (text: string) => {
    words = (words + text).slice(0, wordsLengthMax)
  })
  // An abort is told by the signal, and only once the process has gone.
  child.on('error', (error) => (words ||= error.message))
  // One that ends early does not read it.
  child.stdin?.on('error', () => {})
  child.stdin?.end(passphrase)
  const [code, killedBy] = await new Promise<[number | null, string | null]>((resolve) => {
    child.on('close', (...how) => resolve(how))
  })
  signal.throwIfAborted()
  if (code === 0) return output
  throw failure(code ?? `was ended by ${killedBy}`, words.replaceAll(file, 'the image').trim())
}

function failure(how: number | string, words: string): ImageError {
  if (how === 2) {
    return new ImageError(
      'invalid_argument',
      `The passphrase in CRYPTO_KEY_VALUE does not open the image. ${words}`,
    )
  }
  if (how === 127) {
    return new ImageError(
      'failed_precondition',
      `Encrypted images need cryptsetup, which is not here. Install it (Debian: cryptsetup-bin). ${words}`,
    )
  }
  const ended = typeof how === 'number' ? `ended with ${how}` : how
  const limits = `${timeoutMs / 1000} s and ${addressSpaceKiB} KiB of memory`
  return new ImageError(
    'failed_precondition',
    `cryptsetup ${ended} (it may take ${limits}). ${words}`,
  )
}
