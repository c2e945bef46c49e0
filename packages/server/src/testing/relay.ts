// A wire between two servers: it counts what passes, is cut when told, and leads on to whatever server
// has taken the place of the first.

import { once } from 'node:events'
import { type AddressInfo, type Server, type Socket, connect, createServer } from 'node:net'

export class Relay {
  /** Where it leads. */
  port: number
  /** Bytes that came from there, with the heads of all answers. */
  receivedBytes = 0
  /** Told of each chunk before it passes. */
  onBytes: (() => void) | undefined
  readonly #server: Server
  readonly #sockets = new Set<Socket>()

  private constructor(port: number) {
    this.port = port
    this.#server = createServer((near) => this.#join(near))
  }

  static async start(port: number): Promise<Relay> {
    const relay = new Relay(port)
    relay.#server.listen(0, '127.0.0.1')
    await once(relay.#server, 'listening')
    return relay
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`
  }

  /** Breaks all connections. */
  cut(): void {
    for (const socket of this.#sockets) socket.destroy()
  }

  async stop(): Promise<void> {
    this.#server.close()
    this.cut()
    await once(this.#server, 'close')
  }

  #join(near: Socket): void {
    const far = connect(this.port, '127.0.0.1')
    far.on('data', (chunk: Buffer) => {
      this.receivedBytes += chunk.length
      this.onBytes?.()
    })
    near.pipe(far).pipe(near)
    for (const [socket, other] of [
      [near, far],
      [far, near],
    ] as const) {
      this.#sockets.add(socket)
      socket.on('error', () => {})
      socket.on('close', () => {
        this.#sockets.delete(socket)
        other.destroy()
      })
    }
  }
}
