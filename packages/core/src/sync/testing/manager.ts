// Another manager as a pull sees it: one image behind its API, on a real web server that misbehaves
// when a test wants it to.

import { createHash } from 'node:crypto'
import type { IncomingHttpHeaders, IncomingMessage, ServerResponse } from 'node:http'
import { BlockHash, BlockIndex } from '../../blocks.ts'
import type { Web } from '../../testing/web.ts'

export interface Asked {
  what: 'image' | 'blocks' | 'download'
  /** How often that has been asked for, this time included. */
  count: number
  query: string
  headers: IncomingHttpHeaders
  /** Of a download. */
  start: number
  end: number
}

/** What goes wrong with one answer. */
export interface Mischief {
  status?: number
  headers?: Record<string, string>
  body?: Uint8Array | string
  /** The connection is broken after so many bytes of the body. */
  cutAfterBytes?: number
  /** After so many bytes nothing more comes. */
  stallAfterBytes?: number
}

export class Manager {
  /** The newest version, which is the only one. */
  disk: Buffer
  version = '1'
  labels: Record<string, string> = {}
  /** In place of what is true. */
  told: Record<string, unknown> = {}
  isDeleted = false
  hasIndex = true
  readonly asked: Asked[] = []
  mischief: ((asked: Asked) => Mischief | undefined | Promise<Mischief | undefined>) | undefined
  #digest: { of: Buffer; hex: string } | undefined
  readonly #web: Web
  readonly #root: string

  /** Serves under `root`, which begins with a slash or is empty. */
  constructor(web: Web, disk: Buffer, root: string = '') {
    this.#web = web
    this.#root = root
    this.disk = disk
    const image = `${root}/v1/backing-images/base`
    web.on(image, (...both) => this.#answer('image', ...both))
    web.on(`${image}/blocks`, (...both) => this.#answer('blocks', ...both))
    web.on(`${image}/download`, (...both) => this.#answer('download', ...both))
  }

  get base(): URL {
    return this.#web.url(this.#root === '' ? '/' : this.#root)
  }

  get sha512(): string {
    if (this.#digest?.of !== this.disk) {
      const hex = createHash('sha512').update(this.disk).digest('hex')
      this.#digest = { of: this.disk, hex }
    }
    return this.#digest.hex
  }

  of(what: Asked['what']): Asked[] {
    return this.asked.filter((each) => each.what === what)
  }

  #answer(what: Asked['what'], request: IncomingMessage, response: ServerResponse): void {
    const { headers, url = '' } = request
    const [, start = '0', end] = /^bytes=(\d+)-(\d+)$/.exec(headers.range ?? '') ?? []
    const asked: Asked = {
      what,
      count: this.of(what).length + 1,
      query: url.split('?')[1] ?? '',
      headers,
      start: Number(start),
      end: Number(end ?? this.disk.length - 1),
    }
    this.asked.push(asked)
    void Promise.resolve(this.mischief?.(asked)).then((mischief) =>
      send(response, { ...this.#usual(asked), ...mischief }, mischief?.headers),
    )
  }

  #usual({ what, query, headers, start, end }: Asked): Required<
    Pick<Mischief, 'status' | 'body'>
  > & {
    fields?: Record<string, string>
  } {
    const version = new URLSearchParams(query).get('version') ?? this.version
    if (this.isDeleted || version !== this.version) return { status: 404, body: '{}' }
    if (what === 'image') return { status: 200, body: JSON.stringify(this.#image()) }
    if (what === 'blocks') {
      return this.hasIndex
        ? { status: 200, body: indexOf(this.disk).format() }
        : { status: 404, body: '{}' }
    }
    const etag = `"${this.sha512}"`
    const condition = headers['if-match']
    if (condition !== undefined && condition !== etag) return { status: 412, body: '{}' }
    const range = `bytes ${start}-${end}/${this.disk.length}`
    const body = this.disk.subarray(start, end + 1)
    return headers.range === undefined
      ? { status: 200, body, fields: { etag } }
      : { status: 206, body, fields: { etag, 'content-range': range } }
  }

  #image(): object {
    const { version, labels, sha512 } = this
    const size = this.disk.length
    const checksums = { sha512, sha256: '' }
    const about = { name: 'base', version, state: 'ready', size, format: 'raw', checksums, labels }
    return { ...about, ...this.told }
  }
}

function send(
  response: ServerResponse,
  answer: Mischief & { fields?: Record<string, string> },
  headers: Record<string, string> = {},
): void {
  const { status = 200, fields, cutAfterBytes, stallAfterBytes } = answer
  const body = Buffer.from(answer.body ?? '')
  const endsAt = cutAfterBytes ?? stallAfterBytes
  response.writeHead(status, { 'content-length': body.length, ...fields, ...headers })
  if (endsAt === undefined) {
    response.end(body)
    return
  }
  response.flushHeaders()
  response.write(body.subarray(0, endsAt))
  if (cutAfterBytes !== undefined) response.socket?.destroySoon()
}

/** The block index of an image. */
export function indexOf(image: Buffer): BlockIndex {
  const hash = new BlockHash()
  hash.update(image)
  return BlockIndex.parse(hash.digest(), image.length)
}
