// The Longhorn API as far as backing images go (contract §7): its quirks end here.

import type { IncomingMessage } from 'node:http'
import { LonghornError, refused, strange, unreached } from './failure.ts'
import { Http, type HttpRequest } from './http.ts'
import { type LonghornImage, parseFailure, parseImage, parseImages } from './resource.ts'

export interface LonghornOptions {
  /** LONGHORN_API_URL: with or without the `/v1` of its paths. */
  url: string
  /** LONGHORN_AUTH_TOKEN. */
  token?: string
  /** PEM certificates that are trusted beside the usual ones. */
  extraCa?: string
  /** How long nothing may come, in milliseconds. */
  idleTimeoutMs?: number
}

/** What may be said of a new backing image. */
export interface NewLonghornImage {
  name: string
  sourceType: 'download' | 'upload' | 'export-from-volume' | 'restore' | 'clone'
  parameters: Record<string, string>
  /** SHA-512 as hex; empty: the first copy is taken as it comes. */
  expectedChecksum: string
  /** 0 leaves it to Longhorn's setting. */
  minNumberOfCopies?: number
  nodeSelector?: string[]
  diskSelector?: string[]
  dataEngine?: 'v1' | 'v2'
}

const usualIdleTimeoutMs = 30_000
/** 10,000 images with ten disks each stay far below. */
const answerBytesMax = 64 * 1024 * 1024
const wordsLengthMax = 1000

export class LonghornClient {
  /** As it is shown, without a password that it may hold. */
  readonly url: string
  /** How long nothing may come, in milliseconds. */
  readonly idleTimeoutMs: number
  readonly #http: Http
  readonly #base: URL

  constructor({ url, token, extraCa, idleTimeoutMs = usualIdleTimeoutMs }: LonghornOptions) {
    this.#base = baseOf(url)
    this.idleTimeoutMs = idleTimeoutMs
    this.url = this.#base.origin + this.#base.pathname.replace(/v1\/$/, '').replace(/\/$/, '')
    this.#http = new Http({
      base: this.#base,
      idleTimeoutMs,
      ...(token !== undefined && { token }),
      ...(extraCa !== undefined && { extraCa }),
    })
  }

  /** Where changes are pushed, and what a client must send there. */
  get feed(): { url: URL; headers: Record<string, string>; agent: Http['agent'] } {
    const url = new URL('ws/backingimages', this.#base)
    url.protocol = url.protocol === 'https:' ? 'wss:' : 'ws:'
    return { url, headers: this.#http.headers, agent: this.#http.agent }
  }

  async list(signal?: AbortSignal): Promise<LonghornImage[]> {
    const what = 'list its backing images'
    const found = await this.#json({ method: 'GET', path: 'backingimages', ...only(signal) }, what)
    const images = parseImages(found)
    if (!images) throw strange(this.url, 200, 'its list of backing images is none')
    return images
  }

  /** Rejects with `not_found` where there is none. */
  async get(name: string, signal?: AbortSignal): Promise<LonghornImage> {
    return await this.#image({ method: 'GET', path: pathOf(name), ...only(signal) }, `show ${name}`)
  }

  /** Resolves with what it made, under the name that it chose: Longhorn changes long and upper-case ones. */
  async create(image: NewLonghornImage, signal?: AbortSignal): Promise<LonghornImage> {
    const { minNumberOfCopies = 0, ...others } = image
    const body = { ...others, ...(minNumberOfCopies > 0 && { minNumberOfCopies }) }
    const request = { method: 'POST', path: 'backingimages', body, ...only(signal) } as const
    return await this.#image(request, `create ${image.name}`)
  }

  /** Resolves when it has begun: the copies go later. Refused while a replica uses one. */
  async delete(name: string, signal?: AbortSignal): Promise<void> {
    const request = { method: 'DELETE', path: pathOf(name), ...only(signal) } as const
    const { status, message } = await this.#ask(request)
    const text = await this.#read(message)
    if (status < 200 || status > 299) throw this.#refusal(`delete ${name}`, status, text)
  }

  /** Drops its copies on those disks, named by their UUIDs. */
  async cleanup(name: string, disks: string[], signal?: AbortSignal): Promise<LonghornImage> {
    const path = `${pathOf(name)}?action=backingImageCleanup`
    const request = { method: 'POST', path, body: { disks }, ...only(signal) } as const
    return await this.#image(request, `drop copies of ${name}`)
  }

  /** The file of a copy, packed by gzip although no header says so (contract §2.5). */
  async download(name: string, signal?: AbortSignal): Promise<IncomingMessage> {
    const path = `${pathOf(name)}/download`
    const { status, message } = await this.#ask({ method: 'GET', path, ...only(signal) })
    if (status === 200) return message
    throw this.#refusal(`give ${name}`, status, await this.#read(message))
  }

  /** Closes the connections that are kept. */
  close(): void {
    this.#http.close()
  }

  async #image(request: HttpRequest, what: string): Promise<LonghornImage> {
    const image = parseImage(await this.#json(request, what))
    if (!image) throw strange(this.url, 200, 'what it gave is no backing image')
    return image
  }

  async #json(request: HttpRequest, what: string): Promise<unknown> {
    const { status, message } = await this.#ask(request)
    const text = await this.#read(message)
    if (status !== 200) throw this.#refusal(what, status, text)
    const value = parseJson(text)
    if (value === undefined) throw strange(this.url, status, `it gave ${kindOf(message)}`)
    return value
  }

  async #ask(request: HttpRequest): ReturnType<Http['ask']> {
    try {
      return await this.#http.ask(request)
    } catch (error) {
      request.signal?.throwIfAborted()
      throw unreached(this.url, error)
    }
  }

  async #read(message: IncomingMessage): Promise<string> {
    const chunks: Buffer[] = []
    let length = 0
    try {
      for await (const chunk of message as AsyncIterable<Buffer>) {
        length += chunk.length
        if (length > answerBytesMax) break
        chunks.push(chunk)
      }
    } catch (error) {
      throw unreached(this.url, error)
    }
    if (length <= answerBytesMax) return Buffer.concat(chunks).toString()
    throw strange(this.url, message.statusCode ?? 0, `its answer is over ${answerBytesMax} bytes`)
  }

  #refusal(what: string, status: number, text: string): LonghornError {
    const words = parseFailure(parseJson(text))
    // The API always says why; a page comes from something before it.
    if (words === undefined)
      return strange(this.url, status, `it answered ${status} without a reason`)
    return refused(what, status, words.slice(0, wordsLengthMax))
  }
}

/** The base of all paths: it ends in `/v1/`. Throws a TypeError for what is no http or https URL. */
function baseOf(text: string): URL {
  const url = new URL(text)
  if (url.protocol !== 'http:' && url.protocol !== 'https:') throw new TypeError('no HTTP URL')
  const path = url.pathname.replace(/\/+$/, '')
  return new URL(`${path.endsWith('/v1') ? path : `${path}/v1`}/`, url.origin)
}

function pathOf(name: string): string {
  return `backingimages/${encodeURIComponent(name)}`
}

function only(signal: AbortSignal | undefined): { signal?: AbortSignal } {
  return signal ? { signal } : {}
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

function kindOf({ headers }: IncomingMessage): string {
  return JSON.stringify(headers['content-type'] ?? 'something without a type')
}
