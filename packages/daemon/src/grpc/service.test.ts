// The methods as longhorn-manager meets them: over a real connection, with the words it looks for.

import { mkdir, mkdtemp, readdir, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Client, credentials, status } from '@grpc/grpc-js'
import { ImageError } from '@backing-image/core'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { type DaemonHere, startDaemonHere } from '../testing/daemon.ts'
import type { BackupOrder } from '../backup/backup.ts'
import type { ImageBackups } from './backups.ts'
import { managerService } from './proto.ts'
import { RpcError } from './rpc-error.ts'

const service = suite('service')
let daemon: DaemonHere
let disk: string
let orders: BackupOrder[] = []
let trouble: Error | undefined

const backups: ImageBackups = {
  create: async (order: BackupOrder) => {
    if (trouble) throw trouble
    orders.push(order)
  },
  status: (name: string) => {
    if (name !== 'a') throw new ImageError('not_found', 'No backup of this image was begun here.')
    return { progress: 95, backupUrl: 'nfs://x?backingImage=a', error: '', state: 'in_progress' }
  },
}

service.before.each(async () => {
  orders = []
  trouble = undefined
  disk = await mkdtemp(join(tmpdir(), 'disk-'))
  daemon = await startDaemonHere({ diskPath: `${disk}/`, backups })
})
service.after.each(async () => {
  await daemon.server.close()
  await rm(disk, { recursive: true })
})

const image = { name: 'a', uuid: '0123abcd' }
const spec = { ...image, size: 2 ** 53 - 512, checksum: 'ab'.repeat(64) }

function pathOf({ name, uuid } = image): string {
  return join(disk, 'backing-images', `${name}-${uuid}`, 'backing')
}

/** Any message, as another client may send it. */
async function call(method: string, request: object): Promise<Record<string, unknown>> {
  const definition = managerService[method]
  assert.ok(definition)
  const client = new Client(daemon.address, credentials.createInsecure())
  return await new Promise<Record<string, unknown>>((resolve, reject) => {
    client.makeUnaryRequest(
      definition.path,
      definition.requestSerialize,
      definition.responseDeserialize,
      request,
      (error, answer: Record<string, unknown> = {}) => (error ? reject(error) : resolve(answer)),
    )
  }).finally(() => client.close())
}

async function fails(work: Promise<unknown>, code: status, text: string | RegExp): Promise<void> {
  const error: unknown = await work.then(
    () => undefined,
    (thrown: unknown) => thrown,
  )
  assert.ok(error instanceof Error && 'code' in error, 'it should have failed')
  assert.is(error.code, code, String(error))
  const words = error instanceof RpcError ? error.message : error.message.replace(/^\d+ \w+: /, '')
  if (typeof text === 'string') assert.is(words, text)
  else assert.match(words, text)
}

service(
  'an image is told with its expected and its current checksum, and exact sizes',
  async () => {
    await daemon.client.fetch(spec, '')
    assert.equal(daemon.files.asked, [`fetch ${pathOf()}`])
    daemon.files.change(pathOf(), {
      state: 'ready',
      virtualSize: 2 ** 40 + 512,
      realSize: 4096,
      progress: 100,
      currentChecksum: 'cd',
      message: 'said',
      sendingReference: 2,
    })
    const expected = {
      spec: { ...spec, virtualSize: 2 ** 40 + 512, realSize: 4096 },
      status: {
        state: 'ready',
        error_msg: 'said',
        sending_reference: 2,
        sender_manager_address: '',
        progress: 100,
        checksum: 'cd',
      },
    }
    assert.equal(await daemon.client.get(image), expected)
    assert.equal(await daemon.client.list(), { a: expected })
    assert.equal(await daemon.client.prepareDownload(image), {
      src_file_path: pathOf(),
      address: '127.0.0.1:8001',
    })
  },
)

service('what is missing, absent or leads elsewhere has its status and words', async () => {
  const { client } = daemon
  const missing = 'missing required argument'
  for (const [method, request] of [
    ['Get', { name: 'a' }],
    ['PrepareDownload', { uuid: 'a' }],
    ['Delete', {}],
    ['Send', { name: 'a', uuid: 'b' }],
    ['Fetch', {}],
    ['Fetch', { spec: { name: 'a' } }],
    ['Sync', {}],
    ['Sync', { from_address: 'a:1' }],
    ['Sync', { spec }],
    ['BackupCreate', {}],
  ] as const) {
    await fails(call(method, request), status.INVALID_ARGUMENT, missing)
  }
  await fails(client.get(image), status.NOT_FOUND, 'cannot find backing image a(0123abcd)')
  await fails(client.prepareDownload(image), status.NOT_FOUND, /^cannot find backing image /)
  for (const name of ['../a', '.', 'a/b']) {
    await fails(client.get({ name, uuid: 'b' }), status.INVALID_ARGUMENT, /is no part of a path/)
    await fails(client.delete({ name, uuid: 'b' }), status.INVALID_ARGUMENT, /no part of a path/)
    await fails(client.delete({ name: 'a', uuid: name }), status.INVALID_ARGUMENT, /no part/)
  }
  const large = { spec: { ...spec, size: '9007199254740994' } }
  await fails(call('Fetch', large), status.INVALID_ARGUMENT, /at most 2\^53/)
  const from = client.sync(spec, 'unix:/run/other')
  await fails(from, status.INVALID_ARGUMENT, /\[host\]:port is expected/)
  assert.equal(daemon.files.asked, [])
})

service('what the files refuse is UNKNOWN, in the words of Longhorn', async () => {
  const { client, files } = daemon
  await client.fetch(spec, '')
  const prefix = 'resp.StatusCode(500) != http.StatusOK(200), response body content: '
  const twice = `${prefix}file ${pathOf()} already exists\n`
  await fails(client.fetch(spec, ''), status.UNKNOWN, twice)
  await fails(client.sync(spec, '127.0.0.1:1'), status.UNKNOWN, twice)
  const early = `${prefix}invalid state pending for file sending\n`
  await fails(client.send(image, '127.0.0.1:1'), status.UNKNOWN, early)
  await fails(
    client.prepareDownload(image),
    status.FAILED_PRECONDITION,
    'invalid backing image state pending for the download',
  )
  for (const ask of [() => client.get(image), () => client.list(), () => client.delete(image)]) {
    files.trouble = new ImageError('unavailable', 'The disk hangs.')
    await fails(ask(), status.UNKNOWN, `${prefix}The disk hangs.\n`)
  }
  files.trouble = new Error(`half a pair \ud800, % and ${'x'.repeat(10_000)}`)
  await fails(client.list(), status.UNKNOWN, /half a pair \ufffd, % and x{1000}/)
})

service('delete takes the folder and what a data source began, and nothing beside', async () => {
  const { client } = daemon
  const tmp = join(disk, 'tmp')
  await mkdir(tmp)
  await mkdir(join(pathOf(), '..'), { recursive: true })
  for (const name of ['a-0123abcd', 'a-0123abcd.tmp', 'b-0123abcd.tmp']) {
    await writeFile(join(tmp, name), name)
  }
  await writeFile(pathOf(), 'bytes')
  await client.fetch(spec, '')
  const startedAt = performance.now()
  await client.delete(image)
  assert.ok(performance.now() - startedAt < 900)
  assert.equal(await readdir(join(disk, 'backing-images')), [])
  assert.equal((await readdir(tmp)).toSorted(), ['a-0123abcd', 'b-0123abcd.tmp'])
  await fails(client.get(image), status.NOT_FOUND, /cannot find/)
  await client.delete(image)
  // Also where the files refuse: whatever can go, goes (contract §1.5).
  await mkdir(join(pathOf(), '..'))
  daemon.files.trouble = new Error('no')
  await fails(client.delete(image), status.UNKNOWN, /response body content: no\n/)
  assert.equal(await readdir(join(disk, 'backing-images')), [])
})

service(
  'delete follows no link: its own place is one that goes, above it none is passed',
  async () => {
    const elsewhere = await mkdtemp(join(tmpdir(), 'elsewhere-'))
    const theirs = join(elsewhere, `${image.name}-${image.uuid}`)
    await mkdir(theirs)
    await writeFile(join(theirs, 'backing'), 'theirs')
    await symlink(elsewhere, join(disk, 'backing-images'))
    await fails(call('Delete', image), status.UNKNOWN, /leads off the disk/)
    await rm(join(disk, 'backing-images'))
    await mkdir(join(disk, 'backing-images'))
    await symlink(theirs, join(pathOf(), '..'))
    await call('Delete', image)
    assert.equal(await readdir(theirs), ['backing'])
    assert.equal(await readdir(join(disk, 'backing-images')), [])
    await rm(elsewhere, { recursive: true })
  },
)

service('of two files of one name the older is told', async () => {
  await daemon.client.fetch(spec, '')
  await daemon.client.fetch({ ...spec, uuid: 'ffffffff' }, '')
  assert.is((await daemon.client.list())['a']?.spec?.uuid, '0123abcd')
  await daemon.client.delete(image)
  assert.is((await daemon.client.list())['a']?.spec?.uuid, 'ffffffff')
})

service('the version is that of the program, and 3 that of the interface', async () => {
  assert.equal(await daemon.client.version(), {
    version: '1.2.3',
    gitCommit: 'commit',
    buildDate: 'date',
    backing_image_manager_api_version: 3,
    backing_image_manager_api_min_version: 3,
  })
})

service('a backup is ordered with all that was said, and its status told', async () => {
  const credential = { AWS_SECRET_ACCESS_KEY: 'very=secret' }
  const request = {
    ...image,
    checksum: 'c',
    backup_target: 's3://bucket@region/',
    labels: ['os=debian=12', 'empty='],
    credential,
    compression_method: 'lz4',
    concurrent_limit: 2,
    parameters: { p: 'v' },
  }
  await call('BackupCreate', request)
  assert.equal(orders, [
    {
      ...image,
      path: pathOf(),
      checksum: 'c',
      backupTarget: 's3://bucket@region/',
      labels: ['os=debian=12', 'empty='],
      credential,
      compressionMethod: 'lz4',
      concurrentLimit: 2,
      parameters: { p: 'v' },
    },
  ])
  assert.equal(await call('BackupStatus', { name: 'a' }), {
    progress: 95,
    backup_url: 'nfs://x?backingImage=a',
    error: '',
    state: 'in_progress',
  })
  const unknown = 'failed to get backup status b: backup backing image not found b'
  await fails(call('BackupStatus', { name: 'b' }), status.UNKNOWN, unknown)
  trouble = new ImageError('deadline_exceeded', 'another backup has the lock')
  await fails(call('BackupCreate', request), status.DEADLINE_EXCEEDED, /lock/)
  trouble = new ImageError('failed_precondition', 'no such target')
  await fails(call('BackupCreate', request), status.UNKNOWN, 'no such target')
  assert.not.match(daemon.log.all.join(), 'very=secret')
})

service('a watch is told of a change, and ended with the server', async () => {
  const { client, address } = daemon
  const definition = managerService['Watch']
  assert.ok(definition)
  const watcher = new Client(address, credentials.createInsecure())
  const stream = watcher.makeServerStreamRequest(
    definition.path,
    definition.requestSerialize,
    definition.responseDeserialize,
    {},
  )
  let count = 0
  const first = new Promise<void>((resolve) => {
    stream.on('data', () => {
      count += 1
      resolve()
    })
  })
  while (!daemon.files.asked.includes('list')) await new Promise((done) => setImmediate(done))
  assert.is(count, 0)
  await client.fetch(spec, '')
  await first
  const ended = new Promise<number>((resolve, reject) => {
    stream.on('status', ({ code }) => resolve(code))
    stream.on('error', reject)
  })
  await daemon.server.close()
  assert.is(await ended, status.OK)
  watcher.close()
})

service.run()
