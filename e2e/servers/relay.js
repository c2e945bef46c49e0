// A wire on the loopback address that leads to a port: it counts what comes from there, has a pace, and
// knows who is connected.

import { once } from 'node:events'
import { connect, createServer } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'

const slowPieceBytes = 8 * 1024
const slowPauseMs = 100

export class Relay {
  /** Bytes that came from there, heads of answers too. */
  passedBytes = 0
  /** Once so many have passed there come only small pieces, with pauses between them. */
  slowFrom = Infinity
  /** Connections that are open. */
  active = 0
  /** Connections that nobody took over there. */
  refused = 0
  #port
  #sockets = new Set()
  #server = createServer((near) => this.#join(near))

  constructor(port) {
    this.#port = port
  }

  static async start(port) {
    const relay = new Relay(port)
    relay.#server.listen(0, '127.0.0.1')
    await once(relay.#server, 'listening')
    return relay
  }

  get url() {
    return `http://127.0.0.1:${this.#server.address().port}`
  }

  async stop() {
    this.#server.close()
    for (const socket of this.#sockets) socket.destroy()
    await once(this.#server, 'close')
  }

  #join(near) {
    const far = connect(this.#port, '127.0.0.1')
    this.active += 1
    near.once('close', () => (this.active -= 1))
    far.once('error', ({ code }) => (this.refused += code === 'ECONNREFUSED' ? 1 : 0))
    near.pipe(far)
    for (const [socket, other] of [
      [near, far],
      [far, near],
    ]) {
      this.#sockets.add(socket)
      socket.on('error', () => other.destroy())
      socket.once('close', () => {
        this.#sockets.delete(socket)
        other.destroySoon()
      })
    }
    this.#pass(far, near).catch(() => near.destroy())
  }

  async #pass(far, near) {
    for await (const chunk of far) {
      let rest = chunk
      while (rest.length > 0) {
        if (near.destroyed) return
        const isSlow = this.passedBytes >= this.slowFrom
        const part = rest.subarray(0, isSlow ? slowPieceBytes : this.slowFrom - this.passedBytes)
        this.passedBytes += part.length
        // Told also when the connection has been broken.
        await new Promise((resolve) => near.write(part, resolve))
        rest = rest.subarray(part.length)
        if (isSlow) await delay(slowPauseMs)
      }
    }
    near.end()
  }
}
