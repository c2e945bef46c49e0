// The S3 backend on real servers: all of the contract on Ceph, and on Swift, which can not create
// exclusively, what is left of it. Each case has a prefix of its own in one bucket.

import { createRequire } from 'node:module'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { freePort, freshFolder, root } from './machine.js'
import { startCeph } from './servers/ceph.js'
import { freePorts } from './servers/servers.js'
import { startSwift } from './servers/swift.js'

// Packages see their own dependencies only, and so do we theirs.
const load = (folder, name) => {
  const { resolve } = createRequire(join(root, 'packages', folder, 'package.json'))
  return import(pathToFileURL(resolve(name)).href)
}
const { S3Backend } = await import(
  pathToFileURL(join(root, 'packages/backend-s3/dist/index.js')).href
)
const { bytesOf, readAll } = await load('backend-s3', '@backing-image/core')
const testing = await load('backend-s3', '@backing-image/core/testing')
const s3 = await load('backend-s3', '@aws-sdk/client-s3')
const { default: pLimit } = await load('backend-s3', 'p-limit')

// The SDK prints a notice about versions of Node otherwise.
process.env.AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED = 'true'
const bucket = 'images'

/** What opens backends on a running server, with a bucket, and looks at it from outside. */
async function storeOf(server) {
  const { endpoint, accessKey, secretKey, region } = server
  const common = { endpoint, accessKey, secretKey, region, bucket }
  const client = new s3.S3Client({
    endpoint,
    region,
    forcePathStyle: true,
    credentials: { accessKeyId: accessKey, secretAccessKey: secretKey },
    requestChecksumCalculation: 'WHEN_REQUIRED',
  })
  await client.send(new s3.CreateBucketCommand({ Bucket: bucket }))
  const open = (options = {}) => S3Backend.open({ ...common, ...options })
  return {
    common,
    client,
    open,
    /** For conformance cases, one after the other: two backends on a prefix that is emptied. */
    subjects: async (options = {}) => {
      const prefix = 'cases/'
      const backend = await open({ ...options, prefix })
      const other = await open({ ...options, prefix })
      const subject = {
        backend,
        other,
        close: () => empty(backend),
        leftovers: () => leftovers(client, prefix),
      }
      return {
        make: async () => subject,
        close: () => Promise.all([backend.close(), other.close()]),
      }
    },
  }
}

async function empty(backend) {
  const limit = pLimit(16)
  const deletes = []
  for await (const { key } of backend.list('')) deletes.push(limit(() => backend.delete(key)))
  await Promise.all(deletes)
}

/** Temporary objects and multipart uploads under a prefix. */
async function leftovers(client, prefix) {
  const objects = await client.send(
    new s3.ListObjectsV2Command({ Bucket: bucket, Prefix: `${prefix}.tmp/` }),
  )
  const uploads = await client.send(
    new s3.ListMultipartUploadsCommand({ Bucket: bucket, Prefix: prefix }),
  )
  return [
    ...(objects.Contents ?? []).map(({ Key }) => Key),
    ...(uploads.Uploads ?? []).map(({ Key, UploadId }) => `${Key} ${UploadId}`),
  ]
}

function levels(backend) {
  return Object.fromEntries(backend.findings.map(({ what, level }) => [what, level]))
}

async function failureOf(work) {
  return await work.then(
    () => assert.unreachable('it succeeded'),
    (error) => error,
  )
}

const folder = freshFolder()
process.on('exit', () => folder.remove())
let ceph
let cephStore
let cephSubjects
let swift
let swiftStore
let swiftSubjects

const onCeph = suite('the S3 backend on Ceph')

onCeph.before(async () => {
  ceph = await startCeph({
    port: Number(process.env.CEPH_PORT) || (await freePorts(3)),
    folder: join(folder.path, 'ceph'),
  })
  cephStore = await storeOf(ceph)
  cephSubjects = await cephStore.subjects()
})
onCeph.after(async () => {
  await cephSubjects?.close()
  cephStore?.client.destroy()
  await ceph?.stop()
})

const cases = [
  ...testing.conformance,
  ...testing.unfinishedConformance,
  ...testing.resumableConformance,
]

for (const each of cases) {
  onCeph(each.name, () => testing.runCase(each, cephSubjects.make))
}

onCeph('creates exclusively, and may be written', async () => {
  const backend = await cephStore.open({ prefix: 'found/' })
  assert.equal(levels(backend), {
    permissions: 'ok',
    'range reads': 'ok',
    'If-Match': 'ok',
    'exclusive creation': 'ok',
    'multipart uploads': 'ok',
    UploadPartCopy: 'ok',
  })
  assert.is(backend.writeRefusal, undefined)
  await backend.close()
  assert.equal(await leftovers(cephStore.client, 'found/'), [])
})

onCeph('a link gives the bytes to anybody, as a file, and no other link does', async () => {
  const backend = await cephStore.open({ prefix: 'link/' })
  await backend.put('a/b', bytesOf('the bytes'))
  const disposition = 'attachment; filename="a.qcow2"'
  const link = await backend.presign('a/b', { expiresSeconds: 60, disposition })
  const answer = await fetch(link)
  assert.is(await answer.text(), 'the bytes')
  assert.is(answer.headers.get('content-disposition'), disposition)
  assert.is(answer.headers.get('content-type'), 'application/octet-stream')
  const last = link.at(-1) === '0' ? '1' : '0'
  assert.is((await fetch(link.slice(0, -1) + last)).status, 403)
  await backend.close()
})

onCeph('a scan reads what is new, and only that', async () => {
  const backend = await cephStore.open({ prefix: 'scan/' })
  const keys = Array.from({ length: 150 }, (_, index) => `s/${1000 + index}`)
  for (const key of keys) await backend.put(key, bytesOf(key))
  const known = new Map()
  for await (const { stat, content } of backend.scan('s/', new Map())) {
    assert.is(Buffer.from(content).toString(), stat.key)
    known.set(stat.key, stat.tag)
  }
  assert.equal(new Set(known.keys()), new Set(keys))
  await backend.put('s/1007', bytesOf('changed'))
  const read = []
  for await (const { stat, content } of backend.scan('s/', known)) {
    if (content) read.push(`${stat.key} ${Buffer.from(content).toString()}`)
  }
  assert.equal(read, ['s/1007 changed'])
  await backend.close()
})

onCeph('what others put under the prefix is neither listed nor in the way', async () => {
  const backend = await cephStore.open({ prefix: 'foreign/' })
  await backend.put('a/x', bytesOf('ours'))
  for (const name of ['a b', '.hidden', 'a/.x', 'a//b', 'é', '.tmp/other', 'folder/']) {
    const command = new s3.PutObjectCommand({ Bucket: bucket, Key: `foreign/${name}`, Body: 'x' })
    await cephStore.client.send(command)
  }
  const keys = []
  for await (const { key } of backend.list('')) keys.push(key)
  assert.equal(keys, ['a/x'])
  await backend.close()
})

onCeph(
  'a wrong secret, and a bucket that is not there, are told by name, without the secret',
  async () => {
    const wrong = await failureOf(cephStore.open({ secretKey: 'not+the/secret' }))
    assert.is(wrong.code, 'permission_denied')
    assert.match(wrong.message, /"test".*"images".*S3_SECRET_KEY/)
    assert.not.match(wrong.message, /not\+the\/secret/)
    const absent = await failureOf(cephStore.open({ bucket: 'no-such-bucket' }))
    assert.is(absent.code, 'failed_precondition')
    assert.is(absent.reason, 'storage_unavailable')
    assert.match(absent.message, /no bucket "no-such-bucket" at http:.*S3_BUCKET/)
  },
)

onCeph('an endpoint where nobody listens is unavailable within 10 seconds', async () => {
  const endpoint = `http://127.0.0.1:${await freePort()}`
  const startedAt = performance.now()
  const failure = await failureOf(cephStore.open({ endpoint }))
  assert.is(failure.code, 'unavailable')
  assert.ok(failure.message.includes(endpoint), failure.message)
  assert.ok(performance.now() - startedAt < 10_000)
})

onCeph('an outage of the gateway ends by itself, and lets a waiting request through', async () => {
  const backend = await cephStore.open({ prefix: 'outage/' })
  await backend.put('a/b', bytesOf('kept'))
  await ceph.stopGateway()
  const during = await failureOf(backend.stat('a/b'))
  assert.is(during.code, 'unavailable')
  const startedAt = performance.now()
  assert.is((await failureOf(backend.get('a/b'))).code, 'unavailable')
  assert.ok(performance.now() - startedAt < 1_000, 'the second one waits too')
  await ceph.startGateway()
  const backAt = performance.now()
  for (;;) {
    const bytes = await backend.get('a/b').catch((error) => error)
    if (!(bytes instanceof Error)) {
      assert.is((await readAll(bytes)).toString(), 'kept')
      break
    }
    assert.is(bytes.code, 'unavailable')
    assert.ok(performance.now() - backAt < 10_000, 'not back within 10 s')
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
  await backend.close()
})

onCeph.run()

const onSwift = suite('the S3 backend on Swift')

onSwift.before(async () => {
  swift = await startSwift({
    port: Number(process.env.SWIFT_PORT) || (await freePorts(5)),
    folder: join(folder.path, 'swift'),
  })
  swiftStore = await storeOf(swift)
  swiftSubjects = await swiftStore.subjects({ singleWriter: true })
})
onSwift.after(async () => {
  await swiftSubjects?.close()
  swiftStore?.client.destroy()
  await swift?.stop()
})

onSwift('can not create exclusively, so that it is read and not written', async () => {
  const writer = await swiftStore.open({ prefix: 'refused/', singleWriter: true })
  assert.is(levels(writer)['exclusive creation'], 'warn')
  assert.is(writer.writeRefusal, undefined)
  await writer.put('a/b', bytesOf('readable'), { ifAbsent: true })
  const reader = await swiftStore.open({ prefix: 'refused/' })
  assert.is(levels(reader)['exclusive creation'], 'FAIL')
  assert.match(reader.writeRefusal, /If-None-Match.*501.*S3_SINGLE_WRITER=true/s)
  for (const ifAbsent of [true, false]) {
    const refused = await failureOf(reader.put('a/c', bytesOf('x'), { ifAbsent }))
    assert.is(refused.code, 'failed_precondition')
    assert.is(refused.reason, 'forbidden')
  }
  assert.is((await failureOf(reader.delete('a/b'))).code, 'failed_precondition')
  assert.is((await readAll(await reader.get('a/b'))).toString(), 'readable')
  assert.is((await failureOf(writer.stat('a/c'))).code, 'not_found')
  const keys = []
  for await (const { key } of reader.list('')) keys.push(key)
  assert.equal(keys, ['a/b'])
  await Promise.all([writer.close(), reader.close()])
})

// To make that many objects takes Swift minutes; its pages are like those of Ceph.
const slow = '2,500 keys are listed once each, over every page'
for (const each of cases) {
  if (each.name === slow) continue
  onSwift(`with one writer: ${each.name}`, () => testing.runCase(each, swiftSubjects.make))
}

onSwift.run()
