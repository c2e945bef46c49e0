// A stand-in for the API of longhorn-manager, written from its contract (§7, §8.4): the shapes, the
// checks of its webhook, and a downloader as demanding as Longhorn's own. It keeps no bytes.

import { createHash } from 'node:crypto'
import {
  type IncomingMessage,
  type Server,
  type ServerResponse,
  STATUS_CODES,
  createServer,
} from 'node:http'
import type { AddressInfo } from 'node:net'
import { setTimeout as pause } from 'node:timers/promises'
import { gzipSync } from 'node:zlib'
import { type WebSocket, WebSocketServer } from 'ws'
import { type Downloaded, download } from './downloader.ts'
import { type StandInImage, assertNew, resourceOf } from './stand-in-image.ts'

export interface StandInOptions {
  /** UUIDs of the disks that may hold copies. */
  disks?: string[]
  /** How long its downloader waits for a byte; Longhorn's is 30 s. */
  stallTimeoutMs?: number
  /** The port; another one each time unless given. */
  port?: number
}

/** What it does instead of answering. */
export interface StandInFault {
  status?: number
  type?: string
  body?: string
  delayMs?: number
  /** Breaks the connection. */
  isBroken?: boolean
}

export interface Payload {
  sent: Buffer
  end?: 'whole' | 'broken' | 'silent'
}

export interface SeenRequest {
  method: string
  path: string
  headers: IncomingMessage['headers']
  atMs: number
}

export class LonghornStandIn {
  readonly images: Map<string, StandInImage> = new Map()
  readonly requests: SeenRequest[] = []
  /** Names of images that replicas of volumes use. */
  readonly inUse: Set<string> = new Set()
  /** What each download of its own came to. */
  readonly downloads: Downloaded[] = []
  readonly disks: string[]
  /** Asked for each request; what it returns comes instead of the answer. */
  fault: (request: SeenRequest) => StandInFault | undefined = () => undefined
  /** What a volume of that name has, for exports. */
  readonly volumes: Map<string, Buffer> = new Map()
  /** What comes of a packed file, and whether the connection breaks then, or nothing more comes. */
  payload: (name: string, packed: Buffer) => Payload = (_, sent) => ({ sent })
  /** How an export goes, once it has begun: with what Longhorn says when it fails. */
  exporting: (name: string) => Promise<string | undefined> = async () => undefined
  isPushing = true
  readonly #server: Server
  readonly #sockets = new WebSocketServer({ noServer: true })
  readonly #stallTimeoutMs: number
  readonly #stopping = new AbortController()

  private constructor({ disks, stallTimeoutMs = 30_000 }: StandInOptions) {
    this.disks = disks ?? ['disk-1', 'disk-2', 'disk-3']
    this.#stallTimeoutMs = stallTimeoutMs
    this.#server = createServer((request, response) => {
      this.#handle(request, response).catch((error: unknown) => {
        response.writeHead(500).end(String(error))
      })
    })
    this.#server.on('upgrade', (request, socket, head) => {
      if (!this.isPushing) socket.destroy()
      else this.#sockets.handleUpgrade(request, socket, head, (feed) => this.#push(feed))
    })
  }

  static async start(options: StandInOptions = {}): Promise<LonghornStandIn> {
    const standIn = new LonghornStandIn(options)
    await new Promise<void>((resolve) => {
      standIn.#server.listen(options.port ?? 0, '127.0.0.1', resolve)
    })
    return standIn
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`
  }

  async stop(): Promise<void> {
    this.#stopping.abort()
    for (const feed of this.#sockets.clients) feed.terminate()
    this.#server.closeAllConnections()
    await new Promise((resolve) => this.#server.close(resolve))
  }

  /** How many of them were made so. */
  count(method: string, path: RegExp): number {
    return this.requests.filter((each) => each.method === method && path.test(each.path)).length
  }

  /** Tells all who watch. */
  changed(): void {
    for (const feed of this.#sockets.clients) this.#push(feed)
  }

  async #handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { method = '', url = '', headers } = request
    const seen = { method, path: url, headers, atMs: performance.now() }
    this.requests.push(seen)
    const fault = this.fault(seen)
    if (fault) {
      await pause(fault.delayMs ?? 0, undefined, { signal: this.#stopping.signal }).catch(() => {})
      if (fault.isBroken) return void request.destroy()
      if (fault.status !== undefined) {
        response.writeHead(fault.status, { 'content-type': fault.type ?? 'text/html' })
        return void response.end(fault.body ?? '<html>')
      }
    }
    const at = new URL(url, this.url)
    const body = await bodyOf(request)
    const [, root, ...rest] = at.pathname.split('/')
    const [kind, name, what] = rest.map((part) => decodeURIComponent(part))
    if (root !== 'v1' || kind !== 'backingimages') return fail(response, 404, 'not found')
    try {
      const answer = this.#answer(
        method,
        { name, what, action: at.searchParams.get('action') },
        body,
      )
      if (Buffer.isBuffer(answer)) {
        response.writeHead(200, { 'content-type': 'application/octet-stream' })
        const { sent, end = 'whole' } = this.payload(name ?? '', gzipSync(answer))
        if (end === 'whole') return void response.end(sent)
        return void response.write(sent, () => void (end === 'broken' && response.destroy()))
      }
      response.writeHead(200, { 'content-type': 'application/json' })
      response.end(answer === undefined ? '' : JSON.stringify(answer))
    } catch (error) {
      if (!(error instanceof Refusal)) throw error
      fail(response, error.status, error.message)
    }
  }

  #answer(
    method: string,
    {
      name,
      what,
      action,
    }: { name: string | undefined; what: string | undefined; action: string | null },
    body: unknown,
  ): object | Buffer | undefined {
    if (name === undefined) return method === 'POST' ? this.#create(body) : this.#collection()
    const image = this.images.get(name)
    if (!image) throw new Refusal(404, `backingimages.longhorn.io "${name}" not found`)
    if (what === 'download') return this.#file(image)
    if (method === 'DELETE') return this.#delete(image)
    if (action === 'backingImageCleanup') this.#cleanup(image, body)
    return resourceOf(image, this.url)
  }

  #collection(): object {
    const data = [...this.images.values()].map((image) => resourceOf(image, this.url))
    return { type: 'collection', resourceType: 'backingImage', links: { self: this.url }, data }
  }

  #create(body: unknown): object {
    const image = refusing(() => assertNew(body, this.volumes))
    const { name } = image
    if (this.images.has(name)) {
      throw new Refusal(500, `backingimages.longhorn.io "${name}" already exists`)
    }
    this.images.set(name, image)
    this.changed()
    this.#begin(image).catch(() => {})
    return resourceOf(image, this.url)
  }

  /** What its controllers do by and by. */
  async #begin(image: StandInImage): Promise<void> {
    const [first = ''] = this.disks
    if (image.sourceType === 'download') {
      this.#tell(image, [first], { state: 'in-progress' })
      const found = await download(image.parameters['url'] ?? '', {
        expectedChecksum: image.expectedChecksum,
        stallTimeoutMs: this.#stallTimeoutMs,
        signal: this.#stopping.signal,
      })
      this.downloads.push(found)
      if (found.failure !== undefined) {
        return this.#tell(image, [first], { state: 'failed', message: found.failure })
      }
      this.#isThere(image, { size: found.size, checksum: found.sha512 })
    }
    if (image.sourceType === 'export-from-volume') {
      const bytes = this.volumes.get(image.parameters['volume-name'] ?? '') ?? Buffer.alloc(0)
      this.#tell(image, [first], { state: 'in-progress', progress: 50 })
      const message = await this.exporting(image.name)
      if (message !== undefined) return this.#tell(image, [first], { state: 'failed', message })
      image.bytes = bytes
      const checksum = createHash('sha512').update(bytes).digest('hex')
      this.#isThere(image, { size: bytes.length, checksum })
    }
  }

  #isThere(image: StandInImage, { size, checksum }: { size: number; checksum: string }): void {
    Object.assign(image, { size, virtualSize: size, currentChecksum: checksum })
    this.#tell(image, this.disks.slice(0, image.minNumberOfCopies), {
      state: 'ready',
      progress: 100,
    })
  }

  #tell(
    image: StandInImage,
    disks: string[],
    { state, progress = 0, message = '' }: { state: string; progress?: number; message?: string },
  ): void {
    const { dataEngine } = image
    for (const disk of disks) image.disks[disk] = { dataEngine, state, progress, message }
    this.changed()
  }

  #file({ name, bytes, disks }: StandInImage): Buffer {
    const isReady = Object.values(disks).some(({ state }) => state === 'ready')
    if (isReady && bytes) return bytes
    throw new Refusal(500, `no ready backing image ${name} for the download`)
  }

  #delete({ name }: StandInImage): undefined {
    if (this.inUse.has(name)) {
      throw new Refusal(
        500,
        `admission webhook denied the request: backing image ${name} is still used by replicas`,
      )
    }
    this.images.delete(name)
    this.changed()
  }

  #cleanup({ name, disks }: StandInImage, body: unknown): void {
    const asked = new Set((body as { disks?: string[] }).disks)
    const isReadyElsewhere = Object.entries(disks).some(
      ([disk, { state }]) => !asked.has(disk) && state === 'ready',
    )
    if (!isReadyElsewhere) {
      throw new Refusal(
        500,
        `failed to do cleanup for ${name}: at least one ready copy is required`,
      )
    }
    for (const disk of asked) delete disks[disk]
    this.changed()
  }

  #push(feed: WebSocket): void {
    feed.send(JSON.stringify(this.#collection()))
  }
}

/** What the API refuses, with the status that it uses for that. */
class Refusal extends Error {
  readonly status: number

  constructor(status: number, message: string) {
    super(message)
    this.status = status
  }
}

/** Whatever the webhook refuses is a 500. */
function refusing<T>(work: () => T): T {
  try {
    return work()
  } catch (error) {
    throw new Refusal(500, `admission webhook denied the request: ${(error as Error).message}`)
  }
}

function fail(response: ServerResponse, status: number, message: string): void {
  const code = STATUS_CODES[status]
  response.writeHead(status, { 'content-type': 'application/json' })
  response.end(JSON.stringify({ type: 'error', status, code, message, detail: '', actions: {} }))
}

async function bodyOf(request: IncomingMessage): Promise<unknown> {
  const chunks: Buffer[] = []
  for await (const chunk of request as AsyncIterable<Buffer>) chunks.push(chunk)
  return chunks.length === 0 ? undefined : JSON.parse(Buffer.concat(chunks).toString())
}
