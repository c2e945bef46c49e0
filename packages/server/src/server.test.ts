import * as assert from 'uvu/assert'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { Agent, request as httpRequest } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { connect as connectTls } from 'node:tls'
import { suite } from 'uvu'
import { firstCertificate, rawImage, secondCertificate } from '@backing-image/core/testing'
import { ask, eventually, put, serving, wire } from './testing/serving.ts'

const server = suite('server')

const image = rawImage()

server('HTTP/1.0 without Host, and an absolute target, are served', async () => {
  const own = await serving()
  for (const head of [
    'GET /health HTTP/1.0\r\n\r\n',
    'GET http://elsewhere.example/health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n',
  ]) {
    const line = await wire(own)
    line.socket.write(head)
    assert.match(await line.ended(), /^HTTP\/1.1 200 [^]*{"status":"ok"}$/)
    line.socket.destroy()
  }
  await own.close()
})

server(
  'a connection is kept for the next request, also after a refusal without a body',
  async () => {
    const own = await serving()
    const agent = new Agent({ keepAlive: true, maxSockets: 1 })
    const ports = new Set<number | undefined>()
    for (const path of ['/health', '/nope', '/v1/backing-images', '/health']) {
      await new Promise<void>((resolve, reject) => {
        const request = httpRequest(
          { port: own.port, host: '127.0.0.1', path, agent },
          (response) => {
            ports.add(response.socket.localPort)
            response.resume()
            response.on('end', resolve)
          },
        )
        request.on('error', reject)
        request.end()
      })
      await new Promise((resolve) => setTimeout(resolve, 5))
    }
    assert.is(ports.size, 1)
    agent.destroy()
    await own.close()
  },
)

server('closing: nothing new is taken, what runs is finished, the idle are let go', async () => {
  const own = await serving()
  const idle = await wire(own)
  idle.socket.write('GET /health HTTP/1.1\r\nHost: here\r\n\r\n')
  await idle.until(/"ok"/)
  const line = await wire(own)
  line.socket.write(
    `PUT /v1/backing-images/ubuntu HTTP/1.1\r\nHost: here\r\nContent-Length: ${image.length}\r\n\r\n`,
  )
  line.socket.write(image.subarray(0, 1000))
  await eventually(async () => (await own.store.inFlight()).length === 1)
  let isClosed = false
  const closing = own.close(5000).then(() => (isClosed = true))
  await idle.ended()
  const late = await wire(own).then(
    () => 'taken',
    () => 'refused',
  )
  assert.is(late, 'refused')
  assert.is(own.health.report().status, 'unavailable')
  assert.is(isClosed, false)
  line.socket.write(image.subarray(1000))
  const answer = await line.until(/"currentChecksum"/)
  assert.match(answer, /^HTTP\/1.1 201 /)
  assert.match(answer, /connection: close/i)
  await closing
  assert.ok((await own.keys()).includes('.catalog/ubuntu/1.json'), 'acknowledged means there')
})

server('closing: what is not done in time is aborted and leaves no bytes behind', async () => {
  const own = await serving({ idleTimeoutMs: 30_000 })
  await put(own, 'debian', rawImage(32 * 1024 * 1024))
  const events = await wire(own)
  events.socket.write('GET /v1/events HTTP/1.1\r\nHost: here\r\n\r\n')
  await events.until(/text\/event-stream/)
  const reader = await wire(own)
  reader.socket.pause()
  reader.socket.write('GET /v1/backing-images/debian/download HTTP/1.1\r\nHost: here\r\n\r\n')
  const waiter = ask(own, 'GET', '/v1/backing-images/ubuntu?wait=60')
  const line = await wire(own)
  line.socket.write(
    `PUT /v1/backing-images/ubuntu HTTP/1.1\r\nHost: here\r\nContent-Length: ${image.length}\r\n\r\n`,
  )
  line.socket.write(image.subarray(0, 1000))
  await eventually(async () => (await own.store.inFlight()).length === 1)
  assert.is((await waiter).status, 404, 'it asked before there was one')
  const late = ask(own, 'GET', '/v1/backing-images/ubuntu?wait=60')
  await new Promise((resolve) => setTimeout(resolve, 50))
  const startedAtMs = performance.now()
  await own.close(200)
  assert.ok(performance.now() - startedAtMs < 4000)
  assert.match((await late).text, /"state":"in-progress"/, 'who waited was told how it is')
  assert.match(await line.ended(), /^HTTP\/1.1 503 [^]*The server is stopping/)
  const kept = (await own.keys()).filter((key) => !/^\.(jobs|marks)\//.test(key))
  assert.equal(
    kept.filter((key) => !key.includes('debian')),
    [],
  )
  assert.is(own.backend.store.unfinished.size, 0)
  for (const each of [events, reader, line]) each.socket.destroy()
})

server('HTTPS follows its files, and keeps the old certificate while they do not fit', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'tls-'))
  const tls = { certFile: join(folder, 'tls.crt'), keyFile: join(folder, 'tls.key') }
  await writeFile(tls.certFile, firstCertificate.cert)
  await writeFile(tls.keyFile, firstCertificate.key)
  const own = await serving({ tls }, undefined, { tlsIntervalMs: 20 })
  const served = () =>
    new Promise<string>((resolve, reject) => {
      const socket = connectTls({ port: own.port, host: '127.0.0.1', rejectUnauthorized: false })
      socket.on('error', reject)
      socket.on('secureConnect', () => {
        const { CN } = socket.getPeerCertificate().subject
        socket.end('GET /v1/backing-images/x HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n')
        resolve(String(CN))
      })
    })
  assert.match(own.url, /^https:/)
  assert.is(await served(), 'one.test')
  await writeFile(tls.certFile, secondCertificate.cert)
  await eventually(() => own.lines.some(({ level }) => level === 50))
  assert.is(await served(), 'one.test')
  await writeFile(tls.keyFile, secondCertificate.key)
  await eventually(async () => (await served()) === 'two.test')
  assert.not.match(JSON.stringify(own.lines), /PRIVATE/)
  await own.close()
  await rm(folder, { recursive: true })
})

server.run()
