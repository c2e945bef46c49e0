// Fetch from a data source and Sync between two daemons: who is asked for what, and what of a refusal.

import { once } from 'node:events'
import { type IncomingMessage, type ServerResponse, createServer } from 'node:http'
import { setTimeout as delay } from 'node:timers/promises'
import { status } from '@grpc/grpc-js'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { type DaemonHere, startDaemonHere } from '../testing/daemon.ts'
import { RpcError } from './rpc-error.ts'

const copies = suite('copies')
const image = { name: 'a', uuid: '0123abcd' }
const spec = { ...image, size: 4096, checksum: '' }
const path = '/no-disk/backing-images/a-0123abcd/backing'
const sourceFile = '/no-disk/tmp/a-0123abcd'

let receiver: DaemonHere
let sender: DaemonHere
let answer: (incoming: IncomingMessage, outgoing: ServerResponse) => void
let requests: string[]
let source: string
const sourceServer = createServer((incoming, outgoing) => {
  requests.push(`${incoming.method} ${incoming.url}`)
  answer(incoming, outgoing)
})

copies.before(async () => {
  sourceServer.listen(0, '127.0.0.1')
  await once(sourceServer, 'listening')
  const address = sourceServer.address()
  source = `127.0.0.1:${typeof address === 'object' ? address?.port : ''}`
})
copies.after(() => void sourceServer.close())
copies.before.each(async () => {
  requests = []
  receiver = await startDaemonHere()
  sender = await startDaemonHere()
})
copies.after.each(async () => {
  await Promise.all([receiver.server.close(), sender.server.close()])
})

async function until(isSo: () => boolean | Promise<boolean>): Promise<void> {
  for (let tries = 0; !(await isSo()); tries += 1) {
    if (tries > 500) throw new Error('it did not come about')
    await delay(10)
  }
}

async function errorOf(work: Promise<unknown>): Promise<RpcError> {
  const error: unknown = await work.catch((thrown: unknown) => thrown)
  assert.instance(error, RpcError)
  return error as RpcError
}

/** An image that the sender can send. */
async function keepReady(): Promise<void> {
  await sender.client.fetch(spec, '')
  sender.files.change(path, { state: 'ready' })
}

copies('a data source lets go of its file before it is taken over', async () => {
  const file = { filePath: sourceFile, uuid: image.uuid, state: 'ready-for-transfer', more: 1 }
  answer = ({ method }, outgoing) => {
    // A transfer that was done before is 404, and good (contract §1.5).
    if (method === 'POST') outgoing.statusCode = 404
    outgoing.end(method === 'GET' ? JSON.stringify(file) : '')
  }
  await receiver.client.fetch(spec, source)
  assert.equal(requests, ['GET /v1/file', 'POST /v1/file?action=transfer'])
  assert.equal(receiver.files.asked, [`fetch ${sourceFile}`])
})

copies('a data source with another file, uuid or state keeps it', async () => {
  const good = { filePath: sourceFile, uuid: image.uuid, state: 'ready' }
  for (const wrong of [{ filePath: `${sourceFile}x` }, { uuid: 'x' }, { state: 'in-progress' }]) {
    const file = { ...good, ...wrong }
    answer = (_, outgoing) => outgoing.end(JSON.stringify(file))
    const error = await errorOf(receiver.client.fetch(spec, source))
    assert.is(error.code, status.FAILED_PRECONDITION)
    const { filePath, uuid, state } = file
    const text = `invalid data source file ${filePath} for fetch, uuid ${uuid}, state ${state}`
    assert.is(error.message, text)
  }
  assert.not.ok(requests.some((each) => each.startsWith('POST')))
  assert.equal(receiver.files.asked, [])
})

copies('a data source that fails, babbles or is away is told as such', async () => {
  answer = (_, outgoing) => void outgoing.writeHead(500).end('no file yet\n')
  const failed = await errorOf(receiver.client.fetch(spec, source))
  assert.is(failed.code, status.UNKNOWN)
  assert.match(failed.message, /^resp.StatusCode\(500\) != http.StatusOK\(200\), .*no file yet\n$/)
  answer = (_, outgoing) => outgoing.end('<html>')
  assert.match((await errorOf(receiver.client.fetch(spec, source))).message, /answered no JSON/)
  answer = (_, outgoing) => outgoing.end(Buffer.alloc(2 ** 21))
  assert.match((await errorOf(receiver.client.fetch(spec, source))).message, /1048576 bytes/)
  const away = await errorOf(receiver.client.fetch(spec, '127.0.0.1:1'))
  assert.match(away.message, /127.0.0.1:1 was not reached: .*ECONNREFUSED/)
  const bad = await errorOf(receiver.client.fetch(spec, 'http://x'))
  assert.is(bad.code, status.INVALID_ARGUMENT)
  assert.equal(receiver.files.asked, [])
})

copies('a copy: a receiver waits here, then the other is asked to send to it', async () => {
  await keepReady()
  receiver.files.received = 'pending'
  const { status: answered } = await receiver.client.sync(spec, sender.address)
  assert.is(answered?.state, 'pending')
  assert.equal(receiver.files.asked, ['receive on 30001'])
  await delay(300)
  assert.equal(sender.files.asked, [`fetch ${path}`])
  receiver.files.change(path, { state: 'starting' })
  await until(() => sender.files.asked.includes('send to 127.0.0.1:30001'))
})

copies('a file that is here already is not sent again, and its port is free again', async () => {
  await keepReady()
  receiver.files.received = 'ready'
  for (const port of [30_001, 30_002, 30_001, 30_002]) {
    await receiver.client.sync(spec, sender.address)
    assert.is(receiver.files.asked.at(-1), `receive on ${port}`)
    await delay(20)
    await receiver.client.delete(image).catch(() => {})
  }
  assert.equal(sender.files.asked, [`fetch ${path}`])
})

copies('what the other refuses ends the file at once, with the reason', async () => {
  await receiver.client.sync(spec, sender.address)
  await until(async () => (await receiver.client.get(image)).status?.state === 'failed')
  const { status: told } = await receiver.client.get(image)
  assert.match(told?.error_msg ?? '', `${sender.address} was asked for a copy, and does not send`)
  assert.match(told?.error_msg ?? '', 'can not find sync file')
})

copies('nobody there ends the file as well; without an own address nobody is asked', async () => {
  await receiver.client.sync(spec, '127.0.0.1:1')
  await until(async () => (await receiver.client.get(image)).status?.state === 'failed')
  const lost = await startDaemonHere({ podIp: '' })
  await keepReady()
  await lost.client.sync(spec, sender.address)
  await until(async () => (await lost.client.get(image)).status?.state === 'failed')
  assert.match((await lost.client.get(image)).status?.error_msg ?? '', 'POD_IP is not set')
  assert.equal(sender.files.asked, [`fetch ${path}`])
  await lost.server.close()
})

copies('ports: a refusal keeps none, a copy its own until it is deleted', async () => {
  await keepReady()
  await receiver.client.sync(spec, sender.address)
  for (let round = 0; round < 5; round += 1) {
    assert.match((await errorOf(receiver.client.sync(spec, sender.address))).message, /exists/)
  }
  const other = { ...spec, name: 'b', uuid: 'bbbbbbbb' }
  await sender.client.fetch(other, '')
  sender.files.change(path.replace(/a-0123abcd/, 'b-bbbbbbbb'), { state: 'ready' })
  await receiver.client.sync(other, sender.address)
  const third = { ...spec, name: 'c', uuid: 'cccccccc' }
  const error = await errorOf(receiver.client.sync(third, sender.address))
  assert.is(error.code, status.UNKNOWN)
  assert.match(error.message, /30001 to 30002 .*--port-range/)
  await receiver.client.delete(image)
  await until(() =>
    receiver.client.sync(third, sender.address).then(
      () => true,
      () => false,
    ),
  )
})

copies('a file that is deleted and begun anew has one copy alone', async () => {
  await keepReady()
  receiver.files.received = 'pending'
  await receiver.client.sync(spec, sender.address)
  await receiver.client.delete(image)
  receiver.files.received = 'starting'
  await receiver.client.sync(spec, sender.address)
  await delay(500)
  assert.equal(sender.files.asked, [`fetch ${path}`, 'send to 127.0.0.1:30002'])
})

copies.run()
