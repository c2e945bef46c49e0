// What a sweeper is shown, and what it can throw away.

import { CreateMultipartUploadCommand, PutObjectCommand } from '@aws-sdk/client-s3'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { temporaryKey } from './segments.ts'
import { type Rig, content, key, partBytes, refusal, withRig } from './testing/putting.ts'
import { discard, unfinished } from './unfinished.ts'
import { Upload } from './upload.ts'

const found = suite('s3: unfinished puts')
const what = 'prepare a test'
const segment = temporaryKey('0123456789abcdef', key, 0)

async function shown({ bucket }: Rig): Promise<{ id: string; key: string }[]> {
  const all = []
  for await (const each of unfinished(bucket)) all.push({ id: each.id, key: each.key })
  return all
}

async function store({ bucket }: Rig, Key: string): Promise<void> {
  await bucket.send(new PutObjectCommand({ Bucket: bucket.name, Key, Body: 'x' }), { what })
}

found(
  'uploads and temporary objects are shown with their keys, over any number of pages',
  withRig(
    async (rig) => {
      for (let count = 0; count < 3; count += 1) {
        for (const each of [key, 'other/backing', segment]) await Upload.begin(rig.bucket, each)
      }
      for (let count = 0; count < 5; count += 1) {
        await store(rig, `store/${temporaryKey('0123456789abcdef', key, count)}`)
      }
      const all = await shown(rig)
      assert.is(all.length, 9 + 5)
      assert.is(new Set(all.map(({ id }) => id)).size, all.length)
      assert.is(all.filter((each) => each.key === key).length, 3 + 3 + 5)
      assert.is(all.filter((each) => each.key === 'other/backing').length, 3)
      for (const { id } of all) await discard(rig.bucket, id)
      // And once more: what is absent is success.
      for (const { id } of all) await discard(rig.bucket, id)
      assert.equal(await shown(rig), [])
      assert.is(rig.server.medium.uploads.size, 0)
      assert.is(rig.server.medium.objects.size, 0)
    },
    { pageMax: 2 },
  ),
)

found(
  'what is foreign is neither shown nor touched',
  withRig(async (rig) => {
    const { bucket, server } = rig
    const foreign = [
      'elsewhere/file',
      'store/.tmp/own',
      'store/.tmp/a/b/1',
      'store/~/x',
      'store/a b',
    ]
    for (const Key of foreign) {
      await store(rig, Key)
      const begin = new CreateMultipartUploadCommand({ Bucket: bucket.name, Key })
      await bucket.send(begin, { what })
    }
    await store(rig, `store/${key}`)
    assert.equal(await shown(rig), [])
    const upload = [...server.medium.uploads.keys()]
    const ids = ['', '0123abcd', key, '.tmp/own', '?upload=', `${key}?upload=`, '?upload=x', '../x']
    for (const id of [...ids, ...upload.map((each) => `a b?upload=${each}`)]) {
      await discard(bucket, id)
    }
    // One that is well-formed, but unknown.
    await discard(bucket, `${key}?upload=upload-99-abcdefab`)
    assert.is(server.medium.uploads.size, foreign.length)
    assert.is(server.medium.objects.size, foreign.length + 1)
  }),
)

found(
  'a store that can not list uploads breaks nothing',
  withRig(async (rig) => {
    await store(rig, `store/${segment}`)
    for (const status of [501, 405]) {
      const fault = { kind: 'refuse', status, code: 'NotImplemented' } as const
      const rule = rig.server.on({ operation: 'ListMultipartUploads' }, fault)
      assert.equal(await shown(rig), [{ id: segment, key }])
      rule.lift()
    }
    rig.server.on({ operation: 'ListMultipartUploads' }, refusal(403))
    let error: unknown
    await shown(rig).catch((reason: unknown) => (error = reason))
    assert.match(String(error), 'S3_ACCESS_KEY')
  }),
)

found(
  'discard removes the parts, and again when one outlives it',
  withRig(
    async (rig) => {
      const { bucket, server } = rig
      const upload = await Upload.begin(bucket, key)
      const never = new AbortController().signal
      for (let count = 0; count < 3; count += 1) await upload.sendPart(content(partBytes), never)
      const [put] = await shown(rig)
      assert.ok(put)
      server.on(
        {
          operation: 'ListParts',
          when: () => {
            if (server.count('ListParts') === 1) {
              const [uploadId = ''] = put.id.split('=').slice(-1)
              server.medium.putPart(`store/${key}`, uploadId, 9, content(partBytes))
            }
            return false
          },
        },
        refusal(500),
      )
      await discard(bucket, put.id)
      assert.is(server.count('AbortMultipartUpload'), 2)
      assert.is(server.medium.uploads.size, 0)
    },
    { revives: true },
  ),
)

found.run()
