// The receiving side of Longhorn's transfer of sparse files: an HTTP server for one file (contract
// §2.7). It ends with the sender's `close`, or when nobody has asked for anything for long.

import { type IncomingMessage, type Server, type ServerResponse, createServer } from 'node:http'
import { type AddressInfo, type Socket } from 'node:net'
import { ImageError, asError, isImageError } from '@backing-image/core'
import { type Destination, IncomingFile, type Received } from './incoming.ts'
import { Refusal } from './refusal.ts'
import { answerJson, askedBy, intervalOf, refuse, sizeOf } from './request.ts'

export type { Destination, Received } from './incoming.ts'

export interface ReceiverOptions extends Destination {
  port: number
  /** All interfaces unless given. */
  host?: string
  /** Ends it; nothing is left then. */
  signal: AbortSignal
  /** Told the length of every interval that was written; holes add nothing. */
  onProgress: (lengthBytes: number) => void
  /** For how long nobody may ask for anything; 300 s unless given. */
  idleTimeoutMs?: number
}

const usualIdleTimeoutMs = 300_000
const keepAliveTimeoutMs = 240_000
/** For one request, which brings 2 MiB. */
const requestTimeoutMs = 300_000
const headersTimeoutMs = 60_000
/** A sender has 4; each may hold one piece of memory. */
const connectionsMax = 64

const methods = new Map([
  ['open', 'GET'],
  ['close', 'POST'],
  ['sendHole', 'POST'],
  ['writeData', 'POST'],
  ['getChecksum', 'GET'],
  ['getRecordedMetadata', 'GET'],
])

interface Settle {
  resolve: (received: Received) => void
  reject: (error: unknown) => void
}

export class Receiver {
  readonly #options: ReceiverOptions
  readonly #server: Server
  readonly #sockets = new Set<Socket>()
  /** The requests under way. */
  readonly #working = new Set<Promise<void>>()
  #opening: Promise<IncomingFile> | undefined
  #file: IncomingFile | undefined
  #idle: NodeJS.Timeout | undefined
  #isEnding = false
  /** The port is free. */
  #closed: Promise<void> | undefined
  #failure: { error: unknown } | undefined
  readonly #settle: Settle
  readonly #abort = (): void => void this.#fail(this.#options.signal.reason)
  /**
   * Resolves when the sender has closed, or has gone after all had come, and the file is durable and
   * hashed. Rejects, and leaves nothing, with what the disk said, with `unsafe_image`, `cancelled` where
   * bytes were lost or nothing was opened, `deadline_exceeded` where the sender has gone, or what the
   * signal says.
   */
  readonly received: Promise<Received>

  private constructor(options: ReceiverOptions) {
    this.#options = options
    const settle: Settle = { resolve() {}, reject() {} }
    this.received = new Promise((resolve, reject) => Object.assign(settle, { resolve, reject }))
    // Whoever waits for it may come later.
    this.received.catch(() => {})
    this.#settle = settle
    this.#server = createServer({
      keepAliveTimeout: keepAliveTimeoutMs,
      requestTimeout: requestTimeoutMs,
      headersTimeout: headersTimeoutMs,
    })
    this.#server.maxConnections = connectionsMax
    this.#server.on('connection', (socket) => {
      this.#sockets.add(socket)
      socket.once('close', () => this.#sockets.delete(socket))
    })
    this.#server.on('request', (request, response) => this.#take(request, response))
  }

  /** Rejects where the port can not be had. Begins to wait for a sender when it resolves. */
  static async listen(options: ReceiverOptions): Promise<Receiver> {
    options.signal.throwIfAborted()
    const receiver = new Receiver(options)
    const { port, host } = options
    await new Promise<void>((resolve, reject) => {
      receiver.#server.once('error', reject)
      receiver.#server.listen({ port, ...(host !== undefined && { host }) }, () => {
        receiver.#server.off('error', reject)
        resolve()
      })
    })
    // Of a connection that could not be taken: the next one may be.
    receiver.#server.on('error', () => {})
    options.signal.addEventListener('abort', receiver.#abort)
    if (options.signal.aborted) receiver.#abort()
    receiver.#watch()
    return receiver
  }

  /** The one that was asked for, or given for port 0. */
  get port(): number {
    return (this.#server.address() as AddressInfo | null)?.port ?? this.#options.port
  }

  /** Ends it, with nothing left, unless all has come. Resolves when the port is free. */
  async close(): Promise<void> {
    await this.#fail(
      new ImageError('cancelled', 'The receiver was closed before the file had come.'),
    )
    await this.received.catch(() => {})
  }

  #take(request: IncomingMessage, response: ServerResponse): void {
    clearTimeout(this.#idle)
    const work = this.#handle(request, response)
    this.#working.add(work)
    void work.then(() => {
      this.#working.delete(work)
      this.#watch()
    })
  }

  /** Never rejects. */
  async #handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { verb = '', query } = askedBy(request)
    const method = methods.get(verb)
    if (method === undefined) return refuse(response, 404, '404 page not found')
    if (request.method !== method) return refuse(response, 405, 'Method Not Allowed')
    if (this.#isEnding) return refuse(response, 500, 'This receiver has ended.')
    // It waits for the others, and they are not to wait for it.
    if (verb === 'close') {
      void this.#finish(response)
      return
    }
    try {
      await this.#answer(verb, query, { request, response })
    } catch (error) {
      if (response.headersSent) response.destroy()
      else refuse(response, 500, asError(error).message)
      // What the sender has done wrong it may still put right; what the disk has, nobody.
      if (isImageError(error) && !(error instanceof Refusal)) void this.#fail(error, response)
    }
  }

  async #answer(
    verb: string,
    query: URLSearchParams,
    { request, response }: { request: IncomingMessage; response: ServerResponse },
  ): Promise<void> {
    if (verb === 'getRecordedMetadata') {
      return refuse(response, 404, 'There is no metadata of a new file: no such file or directory')
    }
    if (verb === 'open') {
      await this.#open(sizeOf(query))
      // Whether there was a file before: the sender would ask for checksums instead of sending.
      return answerJson(response, false)
    }
    const interval = intervalOf(query)
    const file = this.#file
    if (!file) throw new Refusal('Nothing was opened: `open` comes first.')
    if (verb === 'getChecksum') {
      const checksum = await file.checksum(interval)
      return answerJson(response, checksum?.toString('base64') ?? null)
    }
    if (verb === 'sendHole') {
      await file.clear(interval)
    } else {
      await file.write(interval, request.iterator({ destroyOnReturn: false }))
      this.#options.onProgress(interval.end - interval.begin)
    }
    response.writeHead(200, { 'content-length': '0' }).end()
  }

  /** A sender whose first try was lost asks again. */
  async #open(size: number): Promise<void> {
    this.#opening ??= IncomingFile.create(this.#options, size)
    const file = await this.#opening
    if (file.size !== size) {
      throw new Refusal(`It was opened for ${file.size} bytes already; end=${size} is another.`)
    }
    if (this.#file) return
    this.#file = file
    file.findings.catch((error: unknown) => void this.#fail(error))
  }

  /** Waits for the next request, as long as there is none. */
  #watch(): void {
    clearTimeout(this.#idle)
    if (this.#working.size > 0 || this.#isEnding) return
    const { idleTimeoutMs = usualIdleTimeoutMs } = this.#options
    this.#idle = setTimeout(() => {
      // Only its `close` was lost.
      if (this.#file?.isWhole) void this.#finish(undefined)
      else void this.#fail(senderGone(idleTimeoutMs))
    }, idleTimeoutMs)
    this.#idle.unref()
  }

  /** Nothing more comes: the file is made durable, the sender told so, and what is left is hashed. */
  async #finish(response: ServerResponse | undefined): Promise<void> {
    await this.#end(response)
    try {
      this.#throwIfFailed()
      const file = this.#file
      if (!file) throw new ImageError('cancelled', 'The sender ended before it had opened a file.')
      await file.seal()
      this.#throwIfFailed()
      await this.#farewell(response, undefined)
      const received = await file.result()
      this.#options.signal.removeEventListener('abort', this.#abort)
      this.#settle.resolve(received)
    } catch (error) {
      await this.#farewell(response, error)
      await this.#giveUp(error)
    }
  }

  /** The first failure is the one that counts. */
  async #fail(error: unknown, response?: ServerResponse): Promise<void> {
    this.#failure ??= { error }
    this.#file?.stop(error)
    if (this.#isEnding) return
    // Its text is to reach the sender.
    if (response) await overWith(response)
    if (this.#isEnding) return
    await this.#end(undefined)
    await this.#farewell(undefined, undefined)
    await this.#giveUp(error)
  }

  /** Takes nothing more, and leaves every connection but that of one response. */
  async #end(last: ServerResponse | undefined): Promise<void> {
    this.#isEnding = true
    clearTimeout(this.#idle)
    this.#closed = new Promise((resolve) => this.#server.close(() => resolve()))
    for (const socket of this.#sockets) if (socket !== last?.socket) socket.destroy()
    while (this.#working.size > 0) await Promise.all(this.#working)
  }

  async #farewell(response: ServerResponse | undefined, error: unknown): Promise<void> {
    if (response && !response.headersSent) {
      if (error !== undefined) refuse(response, 500, asError(error).message)
      else response.writeHead(200, { 'content-length': '0', connection: 'close' }).end()
      await overWith(response)
    }
    for (const socket of this.#sockets) socket.destroy()
    await this.#closed
  }

  async #giveUp(error: unknown): Promise<void> {
    this.#file?.stop(error)
    await this.#file?.discard()
    this.#options.signal.removeEventListener('abort', this.#abort)
    this.#settle.reject(this.#failure?.error ?? error)
  }

  #throwIfFailed(): void {
    if (this.#failure) throw this.#failure.error
  }
}

/** Resolves when an answer that was given has been sent, or can not be any more. */
async function overWith(response: ServerResponse): Promise<void> {
  // Whoever asked may have gone long ago.
  if (response.writableFinished || response.destroyed || response.socket?.destroyed === true) return
  await new Promise<void>((resolve) => response.once('close', resolve))
}

function senderGone(idleTimeoutMs: number): ImageError {
  return new ImageError(
    'deadline_exceeded',
    `The sender has asked for nothing for ${idleTimeoutMs / 1000} s, and not all has come. Look whether ` +
      'it still runs, and begin again.',
    { reason: 'invalid_request' },
  )
}
