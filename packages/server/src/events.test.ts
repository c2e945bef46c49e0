import * as assert from 'uvu/assert'
import { suite } from 'uvu'
import { rawImage } from '@backing-image/core/testing'
import { type Serving, ask, eventually, form, put, serving, wire } from './testing/serving.ts'

const events = suite('events')

let server: Serving
events.before.each(async () => {
  // Nothing here is about silence.
  server = await serving({ idleTimeoutMs: 60_000 })
})
events.after.each(async () => {
  await server.close()
})

async function listen(query = '') {
  const line = await wire(server)
  line.socket.write(`GET /v1/events${query} HTTP/1.1\r\nHost: 127.0.0.1:${server.port}\r\n\r\n`)
  await line.until(/\r\n\r\n/)
  return line
}

/** The events that came, each as its kind and the object of its data. */
function heard(text: string): [string, Record<string, unknown>][] {
  const found = text.matchAll(/event: (\w+)\ndata: (.*)\n\n/g)
  return [...found].map(([, kind = '', data = '']) => [kind, JSON.parse(data)])
}

events('changes come as they happen, each image whole', async () => {
  const line = await listen()
  assert.match(line.received(), /^HTTP\/1.1 200 /)
  assert.match(line.received(), /content-type: text\/event-stream/i)
  const image = await put(server, 'ubuntu', rawImage(4096))
  await line.until(/"state":"ready"/)
  await server.store.remove('ubuntu')
  await line.until(/event: deleted\ndata: {"name":"ubuntu","version":"1"}\n\n/)
  const all = heard(line.received())
  const ready = all.find(([, data]) => data['state'] === 'ready')?.[1]
  assert.equal(ready, image, 'what the answer of the upload said')
  assert.equal(new Set(all.map(([kind]) => kind)), new Set(['image', 'deleted']))
  line.socket.destroy()
})

events('first comes what is in flight; ?name= leaves the others out', async () => {
  const upload = await wire(server)
  upload.socket.write(
    'PUT /v1/backing-images/slow HTTP/1.1\r\nHost: here\r\nContent-Length: 4096\r\n\r\n',
  )
  await eventually(async () => (await server.store.inFlight()).length === 1)
  const all = await listen()
  await all.until(/"name":"slow"/)
  const other = await listen('?name=ubuntu')
  await put(server, 'ubuntu', rawImage(4096))
  await other.until(/"state":"ready"/)
  assert.not.match(other.received(), /slow/)
  upload.socket.write(rawImage(4096))
  await all.until(/"name":"slow"[^\n]*"state":"ready"/)
  assert.not.match(other.received(), /slow/)
  for (const each of [upload, all, other]) each.socket.destroy()
})

events('a reader that stays far behind is cut; the others and the uploads go on', async () => {
  const line = await listen()
  line.socket.pause()
  const labels = Array.from({ length: 60 }, (_, index) => ({
    name: 'label',
    value: `${'k'.repeat(240)}${index}=${'v'.repeat(250)}`,
  }))
  // Some 30 KB an event, and two or more of them an upload: over what the system buffers and 1 MiB.
  for (let count = 0; count < 150; count++) {
    const { body, headers } = form([
      { name: 'name', value: `image-${count}` },
      ...labels,
      { name: 'file', value: rawImage(512), filename: 'x' },
    ])
    const { status } = await ask(server, 'POST', '/v1/backing-images', { body, headers })
    assert.is(status, 201)
  }
  line.socket.resume()
  await line.ended()
  assert.not.match(line.received(), /"name":"image-149"/)
  const other = await listen()
  await put(server, 'ubuntu', rawImage(4096))
  await other.until(/"state":"ready"/)
  other.socket.destroy()
})

events('a bad name is 400, and HEAD ends at once', async () => {
  assert.is((await ask(server, 'GET', '/v1/events?name=UP')).status, 400)
  const head = await ask(server, 'HEAD', '/v1/events')
  assert.is(head.status, 200)
  assert.is(head.headers['content-type'], 'text/event-stream')
})

events.run()
