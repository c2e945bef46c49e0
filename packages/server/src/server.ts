// The listening server: time-outs, expectations, and an end that loses no transfer it can finish.

import { setMaxListeners } from 'node:events'
import { type IncomingMessage, type ServerResponse, createServer } from 'node:http'
import { createServer as createSecureServer } from 'node:https'
import { type AddressInfo, type Socket, isIPv6 } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'
import { getRequestListener } from '@hono/node-server'
import { ImageError, asError } from '@backing-image/core'
import { createApp } from './app.ts'
import type { Deps } from './front.ts'
import { invalid, problemOf, problemResponse } from './problem.ts'
import { answerMalformed, watchRequest } from './reply.ts'
import { followKeyPair, readKeyPair } from './tls.ts'

/** How long aborted work may take to clean up behind it. */
const cleanUpTimeMs = 5000

const timeouts = {
  /** A request may take any time; only silence is cut, by those who wait for bytes. */
  requestTimeout: 0,
  headersTimeout: 60_000,
  /** Over the 60 s of common proxies: they, not we, should end an idle connection. */
  keepAliveTimeout: 65_000,
}

export interface RunningServer {
  /** Where it listens, with the port that the system chose. */
  url: string
  /**
   * Takes no more connections, lets what runs finish for at most `graceMs`, then aborts it so that
   * nothing half-done stays, and resolves when all connections are closed.
   */
  close(graceMs: number): Promise<void>
}

/** Resolves when it listens; rejects when the address is taken or the certificate no good. */
export async function startServer(
  deps: Omit<Deps, 'stopping' | 'aborting'>,
  options: { tlsIntervalMs?: number } = {},
): Promise<RunningServer> {
  const { config, log } = deps
  const stopping = new AbortController()
  const aborting = new AbortController()
  // Each transfer listens while it runs.
  setMaxListeners(0, stopping.signal, aborting.signal)
  const app = createApp({ ...deps, stopping: stopping.signal, aborting: aborting.signal })
  const answer = getRequestListener(app.fetch, {
    // HTTP/1.0 needs no Host.
    hostname: 'localhost',
    overrideGlobalObjects: false,
    // Bodies that nobody wants are ours to discard (reply.ts).
    autoCleanupIncoming: false,
    errorHandler: (error) => problemResponse(problemOf(invalid(asError(error).message), '')),
  })
  const running = new Set<Promise<void>>()
  const listener = (incoming: IncomingMessage, outgoing: ServerResponse) => {
    // What is written but not taken: Node cuts a socket that makes no progress for so long.
    const { socket } = incoming
    watchRequest(incoming, outgoing)
    outgoing.once('prefinish', () => socket.setTimeout(config.idleTimeoutMs))
    outgoing.once('finish', () => {
      // Node has not set the time for an idle connection: the next request is under way already.
      if (socket.timeout !== timeouts.keepAliveTimeout) socket.setTimeout(0)
    })
    const done = Promise.resolve(answer(incoming, outgoing)).then(
      () => {},
      (error: unknown) => {
        log.error({ err: asError(error) }, 'request failed')
        outgoing.destroy()
      },
    )
    running.add(done)
    void done.then(() => running.delete(done))
  }
  const server = config.tls
    ? createSecureServer({ ...timeouts, ...readKeyPair(config.tls) })
    : createServer(timeouts)
  server.on('request', listener)
  // The same as any request: who reads the body says "100 Continue" first.
  server.on('checkContinue', listener)
  server.on('clientError', (error, socket) => answerMalformed(error, socket as Socket))
  const unfollow =
    config.tls && 'setSecureContext' in server
      ? followKeyPair(server, config.tls, log, options.tlsIntervalMs)
      : () => {}
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen(config.port, config.host, resolve)
  })
  const { port } = server.address() as AddressInfo
  const host = isIPv6(config.host) ? `[${config.host}]` : config.host
  return {
    url: `${config.tls ? 'https' : 'http'}://${host}:${port}`,
    close: async (graceMs) => {
      unfollow()
      deps.health.stop()
      const closed = new Promise<void>((resolve) => server.close(() => resolve()))
      stopping.abort(stops())
      const isOver = await finishes(closed, graceMs, () => server.closeIdleConnections())
      if (isOver) return
      aborting.abort(stops())
      await Promise.race([Promise.all(running), delay(cleanUpTimeMs, undefined, { ref: false })])
      server.closeAllConnections()
      await closed
    },
  }
}

function stops(): ImageError {
  return new ImageError('unavailable', 'The server is stopping. Nothing was stored: try again.')
}

/** True when `work` is done within the time; `tend` is called again and again meanwhile. */
async function finishes(work: Promise<void>, timeMs: number, tend: () => void): Promise<boolean> {
  const timer = setInterval(tend, 50)
  const isDone = await Promise.race([work.then(() => true), delay(timeMs, false, { ref: false })])
  clearInterval(timer)
  return isDone
}
