// The processes of one real server, which end together, and what every such server needs.

import { closeSync, existsSync, openSync, readFileSync } from 'node:fs'
import { get } from 'node:http'
import { createServer } from 'node:net'
import { join, resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import { startProcess } from '../machine.js'

const stopTimeoutMs = 10_000

/** Programs that run until `stop`, each with a log of its own in `folder`. */
export class Servers {
  #folder
  #options
  #running = new Map()

  constructor(folder, options = {}) {
    this.#folder = folder
    this.#options = options
  }

  start(name, program, args) {
    const log = openSync(join(this.#folder, `${name}.out`), 'a')
    const options = { ...this.#options, stdio: ['ignore', log, log] }
    const child = startProcess(program, args, options)
    closeSync(log)
    child.on('error', () => {})
    this.#running.set(name, child)
  }

  /** Throws when a program has ended by itself, with the end of its log; else true. */
  check() {
    for (const [name, child] of this.#running) {
      if (!hasEnded(child)) continue
      const path = join(this.#folder, `${name}.out`)
      const log = existsSync(path) ? readFileSync(path, 'utf8').slice(-4000) : ''
      throw new Error(`${name} ended with ${child.exitCode ?? child.signalCode}.\n${log}`)
    }
    return true
  }

  async stopOne(name) {
    const child = this.#running.get(name)
    this.#running.delete(name)
    if (child) await end(child)
  }

  /** The last one that was started first. */
  async stop() {
    for (const name of [...this.#running.keys()].toReversed()) await this.stopOne(name)
  }
}

function hasEnded(child) {
  return child.pid === undefined || child.exitCode !== null || child.signalCode !== null
}

async function end(child) {
  if (hasEnded(child)) return
  const ended = new Promise((done) => child.once('exit', done))
  child.kill('SIGTERM')
  const late = setTimeout(() => child.kill('SIGKILL'), stopTimeoutMs)
  await ended
  clearTimeout(late)
}

/** Whether an HTTP server gives any answer below 500 at `url`. */
export function answers(url) {
  return new Promise((done) => {
    const request = get(url, { timeout: 5_000, agent: false }, (response) => {
      response.resume()
      done(response.statusCode < 500)
    })
    request.on('timeout', () => request.destroy())
    request.on('error', () => done(false))
  })
}

/**
 * The first of `count` neighbouring ports that nobody uses, below those that the system gives to
 * outgoing connections.
 */
export async function freePorts(count) {
  for (;;) {
    const first = 10_000 + Math.floor(Math.random() * 20_000)
    const ports = Array.from({ length: count }, (_, index) => first + index)
    const free = await Promise.all(ports.map(isFree))
    if (free.every(Boolean)) return first
  }
}

function isFree(port) {
  return new Promise((done) => {
    const server = createServer()
    server.once('error', () => done(false))
    server.listen(port, '127.0.0.1', () => server.close(() => done(true)))
  })
}

/** When the module is what `node` was started with: PORT FOLDER, until SIGTERM. */
export async function runAsProgram(moduleUrl, start) {
  const [, program, port, folder] = process.argv
  if (!program || pathToFileURL(program).href !== moduleUrl) return
  if (!Number(port) || !folder) throw new Error('PORT and FOLDER are expected.')
  const server = await start({ port: Number(port), folder: resolve(folder) })
  const { endpoint, accessKey, secretKey, region } = server
  process.stdout.write(`${JSON.stringify({ endpoint, accessKey, secretKey, region })}\n`)
  for (const signal of ['SIGTERM', 'SIGINT']) {
    process.once(signal, () => void server.stop().then(() => process.exit(0)))
  }
}
