// The real server as a process that a test may kill at any moment.

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { root } from '../machine.js'
import { webEnv } from '../servers/web.js'

const program = join(root, 'packages/server/bin/backing-image-manager.cjs')
const logBytesMax = 64 * 1024

/**
 * A server with its images in `folder`, or where `env` says (./place.js). It listens once `listening` has
 * resolved to its address.
 */
export class ServerProcess {
  #child
  #log = ''
  #exited
  #isKilled = false

  constructor(folder, env = {}) {
    this.#child = spawn(process.execPath, [program, 'serve'], {
      env: {
        PATH: process.env.PATH,
        HOST: '127.0.0.1',
        PORT: '0',
        ...(folder !== undefined && { BACKING_IMAGE_STORAGE_PATH: folder }),
        LOG_LEVEL: 'warn',
        ...webEnv,
        ...env,
      },
      stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
    })
    for (const stream of [this.#child.stdout, this.#child.stderr]) {
      stream.on('data', (text) => (this.#log = `${this.#log}${text}`.slice(-logBytesMax)))
    }
    this.#exited = once(this.#child, 'exit')
    // Also when the test runner gives up.
    const end = () => this.#child.kill('SIGKILL')
    process.on('exit', end)
    this.#child.once('exit', () => process.off('exit', end))
  }

  /** Resolves to the address; rejects with what the server wrote when it ends before that. */
  async listening(timeoutMs = 60_000) {
    const signal = AbortSignal.timeout(timeoutMs)
    const [first] = await Promise.race([
      once(this.#child, 'message', { signal }),
      this.#exited.then(([code, by]) => [{ ended: code ?? by }]),
    ]).catch(() => {
      throw new Error(`The server did not listen within ${timeoutMs} ms.\n${this.#log}`)
    })
    if (first.url === undefined) throw new Error(`The server ended: ${first.ended}.\n${this.#log}`)
    return first.url
  }

  /** What it wrote, at least the end of it. */
  get log() {
    return this.#log
  }

  /** SIGTERM; resolves to its exit code. Rejects when it had ended by itself. */
  async stop() {
    this.#assertRuns()
    this.#isKilled = true
    this.#child.kill('SIGTERM')
    await this.#exited
    return this.#child.exitCode
  }

  /** SIGKILL, now; resolves when the process is gone. Rejects when it had ended by itself. */
  async kill() {
    this.#assertRuns()
    this.#isKilled = true
    this.#child.kill('SIGKILL')
    await this.#exited
  }

  #assertRuns() {
    const { exitCode, signalCode } = this.#child
    if (this.#isKilled || (exitCode === null && signalCode === null)) return
    throw new Error(`The server ended by itself: ${exitCode}.\n${this.#log}`)
  }
}
