// The daemon of a Longhorn disk and its data sources as real processes: the life of an image from its first
// byte to a backup, and deaths at any moment.
//
//   node scripts/test.js e2e/daemon.test.js      DAEMON_ROUNDS (8) deaths, SEED to repeat one

import { createHash, randomBytes, randomInt } from 'node:crypto'
import {
  createReadStream,
  existsSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  statSync,
} from 'node:fs'
import { createServer } from 'node:http'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { setTimeout as delay } from 'node:timers/promises'
import { gunzipSync } from 'node:zlib'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { randomFrom } from '../packages/core/dist/testing/rig.js'
import { DaemonClient } from '../packages/daemon/dist/index.js'
import { freePort, freshFolder, requireTools, root, startServer, until } from './machine.js'
import * as disks from './daemon/disks.js'
import { startCeph } from './servers/ceph.js'
import { freePorts } from './servers/servers.js'

// Packages see their own dependencies only, and so do we theirs.
const require = createRequire(join(root, 'packages/daemon/package.json'))
const s3 = await import(pathToFileURL(require.resolve('@aws-sdk/client-s3')).href)
const { CreateBucketCommand, S3Client } = s3
// The SDK prints a notice about versions of Node otherwise.
process.env.AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED = 'true'
const { becomes, makeDisk, makeImage, sha512Of, startDaemon, startDataSource, upload } = disks
const rounds = Number(process.env.DAEMON_ROUNDS || 8)
const seed = Number(process.env.SEED || randomInt(2 ** 31))
const mebibyte = 1024 * 1024
const size = 256 * mebibyte

const { path: folder, remove } = freshFolder()
process.on('exit', remove)
const test = suite('the daemon of a Longhorn disk')
const ceph = freePorts(5).then((port) => startCeph({ port, folder: join(folder, 'ceph') }))
ceph.catch(() => {})
const image = join(folder, 'image')
const uuids = { up: '0000a001', down: '0000a002' }
let sha512
let here
let there
let daemon
let other

test.before(async () => {
  requireTools('curl', 'qemu-img')
  makeImage(image, size, randomBytes(5 * mebibyte))
  sha512 = await sha512Of(image)
  here = makeDisk(folder, 'here')
  there = makeDisk(folder, 'there')
  daemon = await startDaemon(here, '31101-31150')
  other = await startDaemon(there, '31151-31200')
})
test.after(async () => {
  await (await ceph).stop()
  for (const each of [daemon, other]) if (each) assert.is(await each.stop(), 0, each.log())
})

const targets = {
  'a folder': async () => {
    const target = join(folder, 'target')
    mkdirSync(target)
    return { backup_target: `vfs://${target}`, credential: {} }
  },
  Ceph: async () => {
    const { endpoint, region, accessKey, secretKey } = await ceph
    const credentials = { accessKeyId: accessKey, secretAccessKey: secretKey }
    const client = new S3Client({ endpoint, region, forcePathStyle: true, credentials })
    await client.send(new CreateBucketCommand({ Bucket: 'backups' }))
    client.destroy()
    const credential = {
      AWS_ACCESS_KEY_ID: accessKey,
      AWS_SECRET_ACCESS_KEY: secretKey,
      AWS_ENDPOINTS: endpoint,
    }
    return { backup_target: `s3://backups@${region}/disks/`, credential }
  },
}
const pathOf = (disk, name, uuid = uuids[name]) =>
  join(disk, 'backing-images', `${name}-${uuid}`, 'backing')
const spec = (name) => ({ name, uuid: uuids[name], size, checksum: sha512 })
const keyOf = (name) => ({ name, uuid: uuids[name] })

test('an upload is handed over to the daemon without a copy, and is sparse', async () => {
  const source = await startDataSource(here, { ...keyOf('up'), type: 'upload' })
  assert.is((await source.info()).state, 'pending')
  await upload(source.url, image, size)
  const info = await becomes('ready-for-transfer', source.info)
  assert.equal([info.currentChecksum, info.size, info.virtualSize], [sha512, size, size])
  const { ino } = statSync(join(here, 'tmp', `up-${uuids.up}`))
  await daemon.client.fetch(spec('up'), source.address)
  await becomes('ready', () => daemon.client.get(keyOf('up')))
  assert.is((await source.info()).state, 'ready')
  const stats = statSync(pathOf(here, 'up'))
  assert.is(stats.ino, ino, 'it is the same file')
  assert.ok(stats.blocks * 512 < 20 * mebibyte)
  assert.equal(readdirSync(join(here, 'tmp')), [])
  assert.is(await source.stop(), 0)
})

test('a copy goes to another disk, with its holes; a second one at once is refused', async () => {
  const begun = await other.client.sync(spec('up'), daemon.address)
  assert.ok(['pending', 'starting'].includes(begun.status.state))
  const again = await other.client.sync(spec('up'), daemon.address).catch((error) => error)
  assert.match(again.message, 'already exists')
  await becomes('ready', () => other.client.get(keyOf('up')))
  assert.is(await sha512Of(pathOf(there, 'up')), sha512)
  assert.ok(statSync(pathOf(there, 'up')).blocks * 512 < 20 * mebibyte)
})

test('it is downloaded as a gzip file, and as it is', async () => {
  const url = `${daemon.files}/${encodeURIComponent(pathOf(here, 'up'))}/download`
  const packed = Buffer.from(await (await fetch(url)).arrayBuffer())
  assert.ok(packed.length < 20 * mebibyte, `${packed.length} bytes`)
  const hash = createHash('sha512').update(gunzipSync(packed, { maxOutputLength: 2 * size }))
  assert.is(hash.digest('hex'), sha512)
  const plain = await fetch(`${url}?forV2Creation=true`, { method: 'HEAD' })
  assert.is(plain.headers.get('content-length'), String(size))
})

test('a download whose server breaks off goes on where it was', async () => {
  let requests = 0
  const server = createServer((request, response) => {
    requests += 1
    const [, start = '0'] = /bytes=(\d+)-/.exec(request.headers.range ?? '') ?? []
    const headers = {
      etag: '"one"',
      'accept-ranges': 'bytes',
      'content-length': size - Number(start),
    }
    const range = { 'content-range': `bytes ${start}-${size - 1}/${size}` }
    response.writeHead(request.headers.range ? 206 : 200, { ...headers, ...(start > 0 && range) })
    const body = createReadStream(image, { start: Number(start) })
    if (requests < 3) setTimeout(() => response.destroy(), 150)
    body.pipe(response).on('error', () => {})
  })
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve))
  const url = `http://127.0.0.1:${server.address().port}/a,b.img`
  const source = await startDataSource(there, {
    ...keyOf('down'),
    type: 'download',
    parameters: { url },
    more: ['--checksum', sha512],
  })
  assert.is((await becomes('ready-for-transfer', source.info)).currentChecksum, sha512)
  assert.ok(requests >= 3)
  await other.client.fetch(spec('down'), source.address)
  await becomes('ready', () => other.client.get(keyOf('down')))
  await source.stop()
  server.close()
})

for (const [kind, uuid] of [
  ['a folder', '0000a003'],
  ['Ceph', '0000a004'],
]) {
  test(`a backup in ${kind} is restored on another disk`, async () => {
    const { backup_target, credential } = await targets[kind]()
    await daemon.client.backupCreate({
      ...keyOf('up'),
      checksum: sha512,
      backup_target,
      labels: ['os=none'],
      credential,
      compression_method: 'lz4',
      concurrent_limit: 2,
      parameters: {},
    })
    const isOver = async () => {
      const status = await daemon.client.backupStatus('up')
      return status.state !== 'in_progress' && status
    }
    const status = await until('the backup is over', isOver, 60_000)
    assert.equal([status.state, status.error, status.progress], ['complete', '', 100])
    const pairs = Object.entries(credential).map(([key, value]) => `${key}=${value}`)
    const source = await startDataSource(there, {
      name: 'back',
      uuid,
      type: 'restore',
      parameters: { 'backup-url': status.backup_url, 'concurrent-limit': '3' },
      more: pairs.flatMap((pair) => ['--credential', pair]),
    })
    assert.is((await becomes('ready-for-transfer', source.info)).currentChecksum, sha512)
    await source.stop()
    for (const { log } of [daemon, source]) assert.not.match(log(), 'testsecret')
  })
}

test(`${rounds} deaths: what is on a disk is whole, and taken over without being hashed`, async () => {
  console.log(`  SEED=${seed}`)
  const random = randomFrom(seed)
  for (let round = 0; round < rounds; round += 1) {
    const key = keyOf('up')
    await other.client.delete(key)
    const asked = { ...key, size, checksum: round % 2 === 0 ? sha512 : '' }
    await other.client.sync(asked, daemon.address)
    await delay(random() * 600)
    await other.kill()
    const left = pathOf(there, key.name, key.uuid)
    // Named means whole, and told by its config.
    if (existsSync(left)) {
      assert.is(await sha512Of(left), sha512)
      const config = JSON.parse(readFileSync(`${left}.cfg`, 'utf8'))
      assert.equal([config.currentChecksum, config.size], [sha512, size])
    }
    other = await startDaemon(there, '31151-31200')
    assert.equal(await other.client.list(), {})
    // As longhorn-manager does: first what is there, then a new copy.
    await other.client.fetch({ ...asked, checksum: sha512 }, '')
    const isThere = existsSync(left)
    await becomes(isThere ? 'ready' : 'failed', () => other.client.get(key))
    if (!isThere) {
      await other.client.delete(key)
      await other.client.sync(asked, daemon.address)
      await becomes('ready', () => other.client.get(key))
    }
    await other.client.delete(key)
    assert.not.ok(existsSync(join(left, '..')), 'nothing is left')
  }
})

test('the server and the daemon of a disk are one process, and leave each other alone', async () => {
  await daemon.stop()
  daemon = undefined
  const [address, syncAddress] = [`127.0.0.1:${await freePort()}`, `127.0.0.1:${await freePort()}`]
  const listen = ['--listen', address, '--sync-listen', syncAddress]
  const env = { BACKING_IMAGE_STORAGE_PATH: '' }
  const server = await startServer('', env, ['--longhorn-disk', here, ...listen])
  const api = `${server.url}/v1`
  const { data } = await (await fetch(`${api}/longhorn/disk-images`)).json()
  const [{ name, uuid, currentChecksum }] = data
  assert.equal([data.length, { name, uuid }, currentChecksum], [1, keyOf('up'), sha512])
  const body = readFileSync(image).subarray(0, 4 * mebibyte)
  const put = await fetch(`${api}/backing-images/mine`, { method: 'PUT', body })
  assert.is(put.status, 201)
  const mine = await put.json()
  const client = new DaemonClient(address)
  await client.fetch(spec('up'), '')
  await becomes('ready', () => client.get(keyOf('up')))
  const key = { name: 'mine', uuid: mine.uuid }
  assert.match((await client.delete(key).catch((error) => error)).message, "is the gateway's")
  await client.delete(keyOf('up'))
  assert.equal(await (await fetch(`${api}/longhorn/disk-images`)).json(), { data: [] })
  const back = await (await fetch(`${api}/backing-images/mine/download`)).arrayBuffer()
  assert.ok(Buffer.from(back).equals(body))
  assert.is(await server.stop(), 0)
})

test.run()
