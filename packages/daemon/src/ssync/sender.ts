// The sending side of Longhorn's transfer of sparse files (contract §2.7): the data of a file in its
// order, some batches at a time, its holes as such, and always a `close`.

import { constants } from 'node:fs'
import { setTimeout as pause } from 'node:timers/promises'
import type { GuardedDisk } from '@backing-image/backend-local'
import { ImageError } from '@backing-image/core'
import { type Extent, extentsOf } from './extents.ts'
import { readFully } from './follower.ts'
import { type Answer, Peer } from './peer.ts'

export interface SendOptions {
  /** Of the file, which must not change meanwhile. */
  path: string
  disk: GuardedDisk
  /** Who receives it: `host:port`. */
  address: string
  signal: AbortSignal
  /** How long one request may take; 5 s unless given. */
  requestTimeoutMs?: number
  /** For how long a receiver that can not be reached is tried; 120 s unless given. */
  openTimeoutMs?: number
  /** The program that knows where holes are; `qemu-img` unless given. */
  qemuImg?: string
}

const usualRequestTimeoutMs = 5_000
const usualOpenTimeoutMs = 120_000
const openPauseMs = 1_000
const workers = 4
const batchBytes = 2 * 1024 * 1024
const { O_NOFOLLOW, O_NONBLOCK, O_RDONLY } = constants
const zeros = Buffer.alloc(batchBytes)

type OpenFile = Awaited<ReturnType<GuardedDisk['open']>>

/**
 * Resolves when the receiver has taken all. Rejects with `unavailable` where it can not be reached,
 * `failed_precondition` where it refuses, with what the disk says or what the signal does; the receiver
 * is told to close then, too, and only a checksum tells it what happened.
 */
export async function sendFile(options: SendOptions): Promise<void> {
  const { path, disk, signal } = options
  signal.throwIfAborted()
  const requestTimeoutMs = options.requestTimeoutMs ?? usualRequestTimeoutMs
  const file = await disk.open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK)
  try {
    const peer = new Peer(options.address, requestTimeoutMs)
    try {
      const size = Number((await file.stat()).size)
      await open(peer, size, options)
      await send({ file, peer, size, options })
    } finally {
      // It may have gone already, or take its time to make all durable: nobody waits for that.
      await peer.ask({ method: 'POST', verb: 'close?checksum=&checksumMethod=' }).catch(() => {})
      peer.close()
    }
  } finally {
    await file.close()
  }
}

/** The receiver may be about to begin: only an answer is final. */
async function open(
  peer: Peer,
  size: number,
  { signal, openTimeoutMs = usualOpenTimeoutMs }: SendOptions,
): Promise<void> {
  const verb = `open?begin=0&directIO=false&end=${size}`
  const untilMs = performance.now() + openTimeoutMs
  for (let attempt = 1; ; attempt += 1) {
    try {
      // Whether there was a file before: it is sent whole in either case.
      assertTaken(await peer.ask({ method: 'GET', verb, signal }), 'open')
      return
    } catch (error) {
      signal.throwIfAborted()
      const isFinal = error instanceof ImageError && error.code !== 'unavailable'
      if (isFinal || performance.now() >= untilMs) throw error
    }
    if (attempt > 1) await pause(openPauseMs, undefined, { signal })
  }
}

interface Sending {
  file: OpenFile
  peer: Peer
  size: number
  options: SendOptions
}

async function send({ file, peer, size, options }: Sending): Promise<void> {
  const failed = new AbortController()
  const signal = AbortSignal.any([options.signal, failed.signal])
  const { qemuImg } = options
  const extents = extentsOf({
    fd: file.fd,
    size,
    signal,
    ...(qemuImg !== undefined && { qemuImg }),
  })
  const batches = batchesOf(extents)
  const work = async (): Promise<void> => {
    const buffer = Buffer.allocUnsafeSlow(batchBytes)
    for (;;) {
      // A generator gives its values in turn, whoever asks.
      const { value: batch, done } = await batches.next()
      if (done === true) return
      signal.throwIfAborted()
      await sendBatch(batch, { file, peer, buffer, signal })
    }
  }
  const works = Array.from({ length: workers }, () =>
    work().catch((error: unknown) => failed.abort(error)),
  )
  await Promise.all(works)
  await batches.return()
  options.signal.throwIfAborted()
  // With what the first of them said.
  failed.signal.throwIfAborted()
}

async function sendBatch(
  { begin, end, isHole }: Extent,
  {
    file,
    peer,
    buffer,
    signal,
  }: { file: OpenFile; peer: Peer; buffer: Buffer; signal: AbortSignal },
): Promise<void> {
  const data = buffer.subarray(0, isHole ? 0 : end - begin)
  if ((await readFully(file, data, begin)) < data.length) {
    throw new ImageError('data_loss', 'The file became shorter while it was sent. Send it again.')
  }
  const verb = isHole || isZeros(data) ? 'sendHole' : 'writeData'
  const body = verb === 'writeData' ? data : undefined
  const query = `${verb}?begin=${begin}&end=${end}`
  assertTaken(await peer.ask({ method: 'POST', verb: query, body, signal }), verb)
}

/** Holes as they are, data in parts of at most `batchBytes`, counted from the beginning of the file. */
async function* batchesOf(extents: AsyncIterable<Extent>): AsyncGenerator<Extent, void, undefined> {
  for await (const { begin, end, isHole } of extents) {
    for (let position = begin; position < end;) {
      const batchEnd = isHole ? end : position + batchBytes - (position % batchBytes)
      yield { begin: position, end: Math.min(batchEnd, end), isHole }
      position = batchEnd
    }
  }
}

function isZeros(data: Buffer): boolean {
  return data[0] === 0 && zeros.compare(data, 0, data.length, 0, data.length) === 0
}

function assertTaken({ status, text }: Answer, verb: string): void {
  if (status === 200) return
  const words = JSON.stringify(text.trim().slice(0, 500))
  throw new ImageError(
    'failed_precondition',
    `The receiver answered ${verb} with ${status}, not with 200: ${words}. Begin the transfer again.`,
  )
}
