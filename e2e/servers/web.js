// A web server on the loopback address that images are fetched from: bodies of any size that are never
// in memory, ranges and conditions, a pace, connections that are cut, and an account of what was sent.

import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { createServer } from 'node:http'
import { setTimeout as delay } from 'node:timers/promises'
import { bodyPieces } from '../durability/bodies.js'

/** What servers need in their environment to fetch from here. */
export const webEnv = { DOWNLOAD_ALLOW: '127.0.0.0/8' }

/** The bytes that look random and are those of `label`. */
export function seededContent(label, size) {
  return { tag: tagOf(`${label} ${size}`), size, read: (from) => bodyPieces(label, size, from) }
}

/** These very bytes. */
export function bufferContent(buffer) {
  const pieceBytes = 256 * 1024
  function* read(from) {
    for (let at = from; at < buffer.length; at += pieceBytes) {
      yield buffer.subarray(at, at + pieceBytes)
    }
  }
  return { tag: tagOf(buffer), size: buffer.length, read }
}

function tagOf(text) {
  return createHash('sha256').update(text).digest('hex').slice(0, 16)
}

/** The SHA-512 of a content, as hex. */
export function sha512OfContent({ read }) {
  const hash = createHash('sha512')
  for (const piece of read(0)) hash.update(piece)
  return hash.digest('hex')
}

/** One URL. What is asked of it from now on meets what is set here now. */
class Page {
  /** Every request: its first byte, and what was answered. */
  requests = []
  /** Bytes of bodies that were handed to the system; more than the other side has taken. */
  sentBytes = 0
  /** Answers that are under way. */
  active = 0
  /** After so many bytes of the content come only small pieces, with pauses between them. */
  slowFrom = Infinity
  slowPieceBytes = 16 * 1024
  slowPauseMs = 100
  /** Each connection is broken after so many bytes. */
  cutEveryBytes = Infinity

  constructor(url, content) {
    this.url = url
    this.content = content
  }

  /** The first byte that each request was answered with. */
  get starts() {
    return this.requests.map(({ start }) => start)
  }
}

export class Web {
  #server = createServer((request, response) => {
    this.#answer(request, response).catch(() => response.destroy())
  })
  #pages = new Map()

  static async start() {
    const web = new Web()
    web.#server.listen(0, '127.0.0.1')
    await once(web.#server, 'listening')
    return web
  }

  async stop() {
    this.#server.close()
    this.#server.closeAllConnections()
    await once(this.#server, 'close')
  }

  /** Serves a content at a path such as `a.img`. */
  serve(path, content) {
    const { port } = this.#server.address()
    const page = new Page(`http://127.0.0.1:${port}/${path}`, content)
    this.#pages.set(`/${path}`, page)
    return page
  }

  /** From now on there is nothing at its URL. */
  forget({ url }) {
    this.#pages.delete(new URL(url).pathname)
  }

  async #answer(request, response) {
    const page = this.#pages.get(request.url)
    if (page === undefined) {
      response.writeHead(404).end()
      return
    }
    const { content } = page
    const etag = `"${content.tag}"`
    const [, from] = /^bytes=([0-9]+)-$/.exec(request.headers.range ?? '') ?? []
    const isSame = [undefined, etag].includes(request.headers['if-range'])
    const start = from !== undefined && isSame ? Number(from) : 0
    const isPart = start > 0 && start < content.size
    page.requests.push({ from: Number(from ?? 0), start: isPart ? start : 0 })
    if (start > 0 && !isPart) {
      response.setHeader('Content-Range', `bytes */${content.size}`)
      response.writeHead(416).end()
      return
    }
    const range = `bytes ${start}-${content.size - 1}/${content.size}`
    response.writeHead(isPart ? 206 : 200, {
      ETag: etag,
      'Accept-Ranges': 'bytes',
      'Content-Length': content.size - start,
      ...(isPart && { 'Content-Range': range }),
    })
    page.active += 1
    try {
      await send(page, content, start, response)
    } finally {
      page.active -= 1
    }
  }
}

async function send(page, content, start, response) {
  let at = start
  // What is written while the connection breaks is not always told of.
  const closed = new Promise((resolve) => response.once('close', resolve))
  for (const whole of content.read(start)) {
    let piece = whole
    while (piece.length > 0) {
      if (response.destroyed) return
      const isSlow = at >= page.slowFrom
      const mayBytes = Math.min(
        isSlow ? page.slowPieceBytes : page.slowFrom - at,
        start + page.cutEveryBytes - at,
      )
      const part = piece.subarray(0, Math.ceil(mayBytes))
      await Promise.race([closed, new Promise((resolve) => response.write(part, resolve))])
      at += part.length
      page.sentBytes += part.length
      piece = piece.subarray(part.length)
      // What was written still comes, and then the end of the connection.
      if (at - start >= page.cutEveryBytes) {
        response.socket?.destroySoon()
        return
      }
      if (isSlow) await delay(page.slowPauseMs)
    }
  }
  response.end()
}
