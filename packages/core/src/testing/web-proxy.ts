// A proxy on loopback: it forwards requests in absolute form, opens tunnels, and knows what it was
// asked for.

import { once } from 'node:events'
import {
  type IncomingMessage,
  type Server,
  type ServerResponse,
  createServer,
  request as httpRequest,
} from 'node:http'
import { createServer as createSecureServer } from 'node:https'
import { type AddressInfo, type Socket, connect } from 'node:net'

export interface WebProxyOptions {
  /** Names that only this proxy can resolve, with their addresses. */
  hosts?: Record<string, string>
  /** What it answers in place of doing its work. */
  refusal?: { status: number; headers?: Record<string, string> }
  /** It never answers. */
  isSilent?: boolean
  /** Is spoken to by HTTPS, with these PEM texts. */
  tls?: { cert: string; key: string }
}

export class WebProxy {
  readonly seen: { method: string; target: string; authorization: string | undefined }[] = []
  readonly #options: WebProxyOptions
  readonly #server: Server
  readonly #sockets = new Set<Socket>()

  private constructor(options: WebProxyOptions) {
    this.#options = options
    const forward = (incoming: IncomingMessage, outgoing: ServerResponse): void =>
      this.#forward(incoming, outgoing)
    this.#server = options.tls ? createSecureServer(options.tls, forward) : createServer(forward)
    this.#server.on('connect', (incoming: IncomingMessage, client: Socket) =>
      this.#tunnel(incoming, client),
    )
    this.#server.on('connection', (socket: Socket) => this.#sockets.add(socket))
  }

  static async start(options: WebProxyOptions = {}): Promise<WebProxy> {
    const proxy = new WebProxy(options)
    proxy.#server.listen(0, '127.0.0.1')
    await once(proxy.#server, 'listening')
    return proxy
  }

  /** With a user and a password. */
  get url(): string {
    const { port } = this.#server.address() as AddressInfo
    const [scheme, host] = this.#options.tls ? ['https', 'localhost'] : ['http', '127.0.0.1']
    return `${scheme}://user:pass%20word@${host}:${port}`
  }

  async stop(): Promise<void> {
    if (!this.#server.listening) return
    this.#server.close()
    for (const socket of this.#sockets) socket.destroy()
    await once(this.#server, 'close')
  }

  #note({ method = '', url: target = '', headers }: IncomingMessage): void {
    this.seen.push({ method, target, authorization: headers['proxy-authorization'] })
  }

  #addressOf(host: string): string {
    return this.#options.hosts?.[host] ?? host
  }

  #forward(incoming: IncomingMessage, outgoing: ServerResponse): void {
    this.#note(incoming)
    const { refusal, isSilent } = this.#options
    if (isSilent) return
    if (refusal) {
      outgoing.writeHead(refusal.status, refusal.headers).end()
      return
    }
    const { hostname, port, pathname, search } = new URL(incoming.url ?? '')
    const { method, headers } = incoming
    const host = this.#addressOf(hostname)
    const onward = httpRequest({ host, port, path: pathname + search, method, headers })
    onward.on('response', (answer) => {
      outgoing.writeHead(answer.statusCode ?? 502, answer.headers)
      answer.pipe(outgoing)
    })
    onward.on('error', () => outgoing.destroy())
    incoming.pipe(onward)
  }

  #tunnel(incoming: IncomingMessage, client: Socket): void {
    this.#note(incoming)
    const { refusal, isSilent } = this.#options
    if (isSilent) return
    client.on('error', () => {})
    if (refusal) {
      const fields = Object.entries(refusal.headers ?? {}).map(
        ([name, value]) => `${name}: ${value}\r\n`,
      )
      client.end(`HTTP/1.1 ${refusal.status} No\r\n${fields.join('')}\r\n`)
      return
    }
    const { hostname, port } = new URL(`http://${incoming.url}`)
    const onward = connect(Number(port), this.#addressOf(hostname), () => {
      client.write('HTTP/1.1 200 Connected\r\n\r\n')
      onward.pipe(client).pipe(onward)
    })
    this.#sockets.add(onward)
    onward.on('error', () => client.destroy())
    client.on('close', () => onward.destroy())
  }
}
