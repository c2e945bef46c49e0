// The fake server itself, asked by the SDK's own client: what a fault test finds must not be its fault.

import { createHash, randomBytes } from 'node:crypto'
import { S3Client } from '@aws-sdk/client-s3'
import * as s3 from '@aws-sdk/client-s3'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { FakeS3, type FakeS3Options } from './testing/index.ts'

const fakes = suite('s3: the fake server')

interface Asked {
  server: FakeS3
  client: S3Client
}

function withFake(test: (asked: Asked) => Promise<void>, options?: FakeS3Options) {
  return async (): Promise<void> => {
    const server = await FakeS3.start(options)
    const { endpoint, region, accessKeyId, secretAccessKey } = server
    const client = new S3Client({
      endpoint,
      region,
      forcePathStyle: true,
      maxAttempts: 1,
      credentials: { accessKeyId, secretAccessKey },
      requestChecksumCalculation: 'WHEN_REQUIRED',
      responseChecksumValidation: 'WHEN_REQUIRED',
    })
    try {
      await test({ server, client })
    } finally {
      client.destroy()
      await server.stop()
    }
  }
}

/** The error's name and status; undefined when there was none. */
async function refused(work: Promise<unknown>): Promise<string | undefined> {
  try {
    await work
    return undefined
  } catch (error) {
    if (error instanceof s3.S3ServiceException) {
      return `${error.$metadata.httpStatusCode} ${error.name}`
    }
    return error instanceof Error && 'code' in error ? String(error.code) : String(error)
  }
}

const at = { Bucket: 'images', Key: 'a/key' }

fakes(
  'objects come back with their metadata, whole and in ranges',
  withFake(async ({ server, client }) => {
    const body = randomBytes(300_000)
    const Metadata = { 'write-id': 'w1' }
    const put = await client.send(new s3.PutObjectCommand({ ...at, Body: body, Metadata }))
    const md5 = createHash('md5').update(body).digest('hex')
    assert.is(put.ETag, `"${md5}"`)
    const head = await client.send(new s3.HeadObjectCommand(at))
    assert.equal(head.Metadata, Metadata)
    assert.is(head.ContentLength, body.length)
    const got = await client.send(
      new s3.GetObjectCommand({ ...at, Range: 'bytes=10-19', IfMatch: put.ETag }),
    )
    assert.is(got.ContentRange, 'bytes 10-19/300000')
    const bytes = Buffer.from((await got.Body?.transformToByteArray()) ?? [])
    assert.ok(bytes.equals(body.subarray(10, 20)))
    const beyond = new s3.GetObjectCommand({ ...at, Range: 'bytes=300000-' })
    assert.is(await refused(client.send(beyond)), '416 InvalidRange')
    const other = new s3.GetObjectCommand({ ...at, IfMatch: '"other"' })
    assert.is(await refused(client.send(other)), '412 PreconditionFailed')
    await client.send(new s3.DeleteObjectCommand(at))
    assert.is(await refused(client.send(new s3.GetObjectCommand(at))), '404 NoSuchKey')
    assert.is(await refused(client.send(new s3.HeadObjectCommand(at))), '404 NotFound')
    assert.equal([server.count('PutObject'), server.count('GetObject')], [1, 4])
  }),
)

fakes(
  'of 8 conditional puts at once one wins; a racy server lets all win',
  withFake(async ({ server, client }) => {
    const race = async (): Promise<number> => {
      const command = (): s3.PutObjectCommand =>
        new s3.PutObjectCommand({ ...at, Body: randomBytes(1000), IfNoneMatch: '*' })
      const all = Array.from({ length: 8 }, () => refused(client.send(command())))
      const outcomes = await Promise.all(all)
      const others = outcomes.filter((each) => each !== undefined)
      assert.ok(others.every((each) => each === '412 PreconditionFailed'))
      return 8 - others.length
    }
    assert.is(await race(), 1)
    assert.is(await race(), 0)
    server.on({ operation: 'PutObject' }, { kind: 'ignore condition' })
    assert.is(await race(), 8)
    server.calm()
    server.on({ operation: 'PutObject' }, { kind: 'early condition' })
    assert.is(await race(), 0)
  }),
)

fakes(
  'multipart uploads are assembled, copied, listed in pages and aborted',
  withFake(
    async ({ server, client }) => {
      await client.send(new s3.PutObjectCommand({ ...at, Key: 'src', Body: 'xxcopiedxx' }))
      const { UploadId } = await client.send(new s3.CreateMultipartUploadCommand(at))
      const upload = { ...at, UploadId }
      const Parts: s3.CompletedPart[] = []
      for (const [index, Body] of ['first-', 'second-'].entries()) {
        const PartNumber = index + 1
        const { ETag } = await client.send(
          new s3.UploadPartCommand({ ...upload, PartNumber, Body }),
        )
        Parts.push({ PartNumber, ETag })
      }
      const copied = await client.send(
        new s3.UploadPartCopyCommand({
          ...upload,
          PartNumber: 3,
          CopySource: 'images/src',
          CopySourceRange: 'bytes=2-7',
        }),
      )
      Parts.push({ PartNumber: 3, ETag: copied.CopyPartResult?.ETag })
      const listed = await client.send(new s3.ListPartsCommand(upload))
      assert.equal([listed.Parts?.length, listed.IsTruncated], [2, true])
      assert.is(server.content('a/key'), undefined)
      const MultipartUpload = { Parts: Parts.toReversed() }
      const wrong = new s3.CompleteMultipartUploadCommand({ ...upload, MultipartUpload })
      assert.is(await refused(client.send(wrong)), '400 InvalidPartOrder')
      const right = { ...upload, MultipartUpload: { Parts } }
      await client.send(new s3.CompleteMultipartUploadCommand(right))
      assert.is(server.content('a/key')?.toString(), 'first-second-copied')
      const again = new s3.CompleteMultipartUploadCommand(right)
      assert.is(await refused(client.send(again)), '404 NoSuchUpload')

      for (const Key of ['u/1', 'u/1', 'u/2', 'u/3', 'v']) {
        await client.send(new s3.CreateMultipartUploadCommand({ ...at, Key }))
      }
      const found: s3.MultipartUpload[] = []
      let page: s3.ListMultipartUploadsCommandOutput | undefined
      do {
        page = await client.send(
          new s3.ListMultipartUploadsCommand({
            Bucket: 'images',
            Prefix: 'u/',
            KeyMarker: page?.NextKeyMarker,
            UploadIdMarker: page?.NextUploadIdMarker,
          }),
        )
        found.push(...(page.Uploads ?? []))
      } while (page.IsTruncated === true)
      assert.equal(
        found.map(({ Key }) => Key),
        ['u/1', 'u/1', 'u/2', 'u/3'],
      )
      for (const { Key = '', UploadId: id } of found) {
        const abort = { Bucket: 'images', Key, UploadId: id }
        await client.send(new s3.AbortMultipartUploadCommand(abort))
      }
      assert.is(server.medium.uploads.size, 1)
    },
    { partMinBytes: 1, pageMax: 2 },
  ),
)

fakes(
  'a list comes in byte order and in pages',
  withFake(
    async ({ client, server }) => {
      const keys = ['l/a', 'l/a-b', 'l/a/b', 'l/B', 'other']
      for (const Key of keys) await client.send(new s3.PutObjectCommand({ ...at, Key, Body: 'x' }))
      const found: (string | undefined)[] = []
      const pages = s3.paginateListObjectsV2({ client }, { Bucket: 'images', Prefix: 'l/' })
      for await (const { Contents } of pages) found.push(...(Contents ?? []).map(({ Key }) => Key))
      assert.equal(found, ['l/B', 'l/a', 'l/a-b', 'l/a/b'])
      assert.is(server.count('ListObjectsV2'), 2)
    },
    { pageMax: 2 },
  ),
)

fakes(
  'each fault does what it says',
  withFake(async ({ server, client }) => {
    const big = randomBytes(3_000_000)
    const put = (Body: string | Buffer): Promise<string | undefined> =>
      refused(client.send(new s3.PutObjectCommand({ ...at, Body })))
    const operation = 'PutObject'
    const once = { operation, times: 1 } as const
    server.on(once, { kind: 'refuse', status: 503, code: 'SlowDown' })
    assert.is(await put('one'), '503 SlowDown')
    assert.is(server.content('a/key'), undefined)
    server.on(once, { kind: 'refuse', status: 403, code: 'AccessDenied', isEarly: true })
    assert.is(await put(big), '403 AccessDenied')
    server.on(once, { kind: 'cut request', afterBytes: 100_000 })
    assert.match((await put(big)) ?? '', /^(ECONNRESET|EPIPE)$/)
    assert.is(server.content('a/key'), undefined)
    server.on(once, { kind: 'lose' })
    assert.is(await put('two'), 'ECONNRESET')
    assert.is(server.content('a/key')?.toString(), 'two')
    server.on(once, { kind: 'deny', status: 500, code: 'InternalError' })
    assert.is(await put('three'), '500 InternalError')
    assert.is(server.content('a/key')?.toString(), 'three')
    const stall = server.on(once, { kind: 'stall', when: 'before' })
    const late = put('four')
    while (stall.hits === 0) await new Promise(setImmediate)
    assert.is(server.open(operation).length, 1)
    stall.lift()
    assert.is(await late, undefined)
    assert.is(server.content('a/key')?.toString(), 'four')

    assert.is(await put(big), undefined)
    const get = async (): Promise<number | string | undefined> => {
      let length = 0
      const failed = await refused(
        (async () => {
          const { Body } = await client.send(new s3.GetObjectCommand(at))
          for await (const chunk of Body as AsyncIterable<Uint8Array>) length += chunk.length
        })(),
      )
      return failed === undefined ? length : `${failed} after ${length}`
    }
    server.on({ operation: 'GetObject', times: 1 }, { kind: 'cut answer', afterBytes: 1_234_567 })
    assert.match(String(await get()), /^(ECONNRESET|.*aborted) after 1234567$/)
    server.on({ operation: 'GetObject', times: 1 }, { kind: 'wrong length', byBytes: -7 })
    assert.is(await get(), 2_999_993)
    assert.is(await get(), 3_000_000)
  }),
)

fakes(
  'who does not sign is refused',
  withFake(async ({ server }) => {
    const answer = await fetch(`${server.endpoint}/images/a/key`)
    assert.is(answer.status, 403)
    assert.match(await answer.text(), /<Code>AccessDenied<\/Code>/)
  }),
)

fakes.run()
