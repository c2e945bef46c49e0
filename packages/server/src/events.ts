// What happens in the store as server-sent events: first the work in flight, then every change.

import { RESPONSE_ALREADY_SENT } from '@hono/node-server/utils/response'
import { type StoreEvent, assertName } from '@backing-image/core'
import type { Hono } from 'hono'
import { commonHeaders } from './sending.ts'
import type { Env } from './front.ts'
import { readQuery } from './query.ts'
import type { Front } from './upload.ts'
import { baseUrl, viewOf } from './view.ts'

/** A reader that is further behind is cut: its events would fill our memory. */
const behindBytesMax = 1024 * 1024
const commentIntervalMs = 15_000

export function addEventRoute(app: Hono<Env>, front: Front): void {
  app.get('/v1/events', async (c) => {
    const { name } = readQuery(c, 'name')
    if (name !== undefined) assertName(name)
    const { outgoing } = c.env
    const headers = {
      'Content-Type': 'text/event-stream',
      'Cache-Control': 'no-store, no-transform',
      // nginx would hold events back until its buffer is full.
      'X-Accel-Buffering': 'no',
    }
    if (c.req.method === 'HEAD') return c.body(null, 200, headers)
    const base = baseUrl(c, front.config)
    const format = (event: StoreEvent): string => {
      if (event.kind === 'image') return line('image', viewOf(event.image, base, front))
      return line('deleted', { name: event.name, version: event.version })
    }
    const write = (text: string) => {
      outgoing.write(text)
      if (outgoing.writableLength > behindBytesMax) outgoing.destroy()
    }
    const isWanted = (event: StoreEvent) =>
      name === undefined || name === (event.kind === 'image' ? event.image.name : event.name)
    // Changes that come while the snapshot is made belong behind it.
    let early: StoreEvent[] | undefined = []
    const unsubscribe = front.store.subscribe((event) => {
      if (!isWanted(event)) return
      if (early) early.push(event)
      else write(format(event))
    })
    try {
      const snapshot = (await front.store.inFlight()).map((image): StoreEvent => ({
        kind: 'image',
        image,
      }))
      outgoing.writeHead(200, { ...headers, ...commonHeaders(c) })
      outgoing.flushHeaders()
      for (const event of [...snapshot.filter(isWanted), ...early]) write(format(event))
      early = undefined
    } catch (error) {
      unsubscribe()
      throw error
    }
    const timer = setInterval(() => write(': still here\n\n'), commentIntervalMs)
    const stop = () => outgoing.end()
    front.stopping?.addEventListener('abort', stop)
    outgoing.once('close', () => {
      clearInterval(timer)
      unsubscribe()
      front.stopping?.removeEventListener('abort', stop)
    })
    if (outgoing.destroyed) outgoing.emit('close')
    return RESPONSE_ALREADY_SENT
  })
}

function line(event: string, data: object): string {
  return `event: ${event}\ndata: ${JSON.stringify(data)}\n\n`
}
