// Which parts of a file hold data. Node.js can not ask the kernel, so qemu-img does; where there is none,
// or it says anything strange, all is data, and whoever reads it sees the zeros.

import { type ChildProcess, spawn } from 'node:child_process'
import type { Interval } from './intervals.ts'

/** A part of a file; a hole reads as zeros. */
export interface Extent extends Interval {
  isHole: boolean
}

export interface ExtentsOptions {
  /** Of the file. */
  fd: number
  /** In bytes. */
  size: number
  signal: AbortSignal
  /** The program; `qemu-img` unless given. */
  qemuImg?: string
}

/** Nobody waits longer for the next line. */
const lineTimeoutMs = 30_000
/** An extent is told in about 100. */
const lineLengthMax = 1000

/**
 * All of the file in its order, without gaps; none is empty. Memory does not grow with their number. The
 * file stays open, and as it is, until that is over.
 */
export async function* extentsOf(options: ExtentsOptions): AsyncGenerator<Extent, void, undefined> {
  let position = 0
  for await (const found of mapped(options)) {
    const end = Math.min(found.end, options.size)
    if (found.begin !== position || end <= position) break
    yield { begin: position, end, isHole: found.isHole }
    position = end
  }
  options.signal.throwIfAborted()
  if (position < options.size) yield { begin: position, end: options.size, isHole: false }
}

/** What qemu-img tells, as far as it can be understood. */
async function* mapped({
  fd,
  signal,
  qemuImg = 'qemu-img',
}: ExtentsOptions): AsyncGenerator<Extent, void, undefined> {
  // The format is told, so that no header is believed; no lock is taken; the file has no name.
  const words = ['map', '--output=json', '-U', '-f', 'raw', '/proc/self/fd/3']
  const child = spawn(qemuImg, words, {
    stdio: ['ignore', 'pipe', 'ignore', fd],
    env: { PATH: process.env['PATH'] ?? '', LC_ALL: 'C' },
    killSignal: 'SIGKILL',
    signal,
  })
  const isOver = new Promise<void>((resolve) => child.once('close', () => resolve()))
  // It can not be run, or was ended: then no more lines come.
  child.on('error', () => {})
  try {
    for await (const line of linesOf(child)) {
      const extent = parseLine(line)
      if (extent) yield extent
    }
  } finally {
    child.kill('SIGKILL')
    child.stdout?.destroy()
    await isOver
  }
}

/** The lines of a program that says the next one soon, until one of them is none. */
async function* linesOf(child: ChildProcess): AsyncGenerator<string, void, undefined> {
  if (!child.stdout) return
  const chunks = child.stdout.setEncoding('latin1').iterator() as AsyncIterator<string>
  for (let rest = ''; rest.length <= lineLengthMax;) {
    const timer = setTimeout(() => child.kill('SIGKILL'), lineTimeoutMs)
    const { value, done } = await chunks.next()
    clearTimeout(timer)
    if (done === true) return
    const lines = `${rest}${value}`.split('\n')
    rest = lines.pop() ?? ''
    yield* lines
  }
}

/** One element of its array, which has a line of its own. */
function parseLine(line: string): Extent | undefined {
  try {
    const { start, length, zero, data } = JSON.parse(line.replace(/^\[|[,\]]$/g, '')) as Told
    if (!Number.isSafeInteger(start) || !Number.isSafeInteger(length)) return undefined
    return { begin: start, end: start + length, isHole: zero === true && data === false }
  } catch {
    return undefined
  }
}

interface Told {
  start: number
  length: number
  zero: unknown
  data: unknown
}
