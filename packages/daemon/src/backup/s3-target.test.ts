// Backups in a bucket, of a server that does what it is told to.

import { FakeS3 } from '@backing-image/backend-s3/testing'
import { isImageError } from '@backing-image/core'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { blockBytes } from './layout.ts'
import { openBackup } from './restore.ts'
import type { Credential } from './target.ts'
import { Place, mixedImage, settleMs, sha512 } from './testing/place.ts'

const buckets = suite('s3 target')

interface Rig {
  server: FakeS3
  place: Place
  credential: Credential
  target: string
}

async function withServer(
  test: (rig: Rig) => Promise<void>,
  beginTimeoutMs = 20_000,
): Promise<void> {
  const server = await FakeS3.start()
  const place = await Place.make({ beginTimeoutMs })
  const credential = {
    AWS_ACCESS_KEY_ID: server.accessKeyId,
    AWS_SECRET_ACCESS_KEY: server.secretAccessKey,
    AWS_ENDPOINTS: server.endpoint,
  }
  const target = `s3://${server.bucket}@${server.region}/some/backups/`
  try {
    await test({ server, place, credential, target })
  } finally {
    server.calm()
    await place.remove()
    await server.stop()
  }
}

async function orderOf({ place, credential, target }: Rig, image: Buffer, concurrentLimit = 2) {
  return await place.order(image, { credential, backupTarget: target, concurrentLimit })
}

/** Waits also until its lock is given back. */
async function ended({ place, server }: Rig): Promise<ReturnType<Place['backups']['status']>> {
  const status = await place.end()
  for (let round = 0; keys(server).some((key) => key.endsWith('.lck')); round += 1) {
    if (round > 400) throw new Error('The lock is not given back.')
    await new Promise((resolve) => setTimeout(resolve, 5))
  }
  return status
}

function keys(server: FakeS3): string[] {
  return [...server.medium.objects.keys()]
}

async function messageOf(work: Promise<unknown>): Promise<string> {
  try {
    await work
  } catch (error) {
    if (isImageError(error)) return error.message
    throw error
  }
  throw new Error('It did not fail.')
}

buckets('a backup in a bucket comes back, few blocks at a time', () =>
  withServer(async (rig) => {
    const { server, place, credential, target } = rig
    const image = Buffer.concat([mixedImage(), Buffer.alloc(blockBytes - 512 * 7), mixedImage()])
    await place.backups.create(await orderOf(rig, image))
    const { state, backupUrl } = await ended(rig)
    assert.equal([state, backupUrl], ['complete', `${target}?backingImage=debian`])
    assert.ok(
      keys(server).every((key) => key.startsWith('some/backups/backupstore/backing-images/')),
    )
    let most = 0
    const rule = server.on(
      {
        operation: 'GetObject',
        when: () => Boolean((most = Math.max(most, server.open('GetObject').length))),
      },
      { kind: 'slow', bytesPerSecond: 40_000_000 },
    )
    const opened = await openBackup(backupUrl, credential, { concurrentLimit: 2, settleMs })
    const chunks: Uint8Array[] = []
    for await (const chunk of opened.bytes) chunks.push(Uint8Array.from(chunk))
    await opened.close()
    assert.is(sha512(Buffer.concat(chunks)), sha512(image))
    assert.ok(rule.hits > 2 && most <= 2, `${most} blocks were asked for at a time`)
    assert.not.ok(keys(server).some((key) => key.endsWith('.lck')))
  }),
)

buckets('nothing of a credential is told, logged, or put where other code looks', () =>
  withServer(async (rig) => {
    const { server, place } = rig
    server.on(
      { operation: 'PutObject', key: /\.blk$/ },
      { kind: 'refuse', status: 403, code: 'AccessDenied' },
    )
    await place.backups.create(await orderOf(rig, mixedImage()))
    const { state, error } = await ended(rig)
    assert.is(state, 'error')
    assert.match(error, /failed to put some\/backups\/\S+\.blk: AWS Error: AccessDenied/)
    const shown = JSON.stringify([place.told, process.env, place.backups.status('debian')])
    assert.not.ok(shown.includes(server.secretAccessKey) || shown.includes(server.accessKeyId))
  }),
)

buckets('a full store ends the backup, which leaves nothing that says it goes on', () =>
  withServer(async (rig) => {
    const { server, place } = rig
    const full = { kind: 'refuse', status: 507, code: 'InsufficientStorage' } as const
    server.on({ operation: 'PutObject', key: /\.blk$/, from: 2, times: 99 }, full)
    await place.backups.create(await orderOf(rig, mixedImage(), 1))
    const { state, error } = await ended(rig)
    assert.is(state, 'error')
    assert.match(error, /InsufficientStorage/)
    assert.not.ok(keys(server).some((key) => key.endsWith('.cfg')))
    server.calm()
    await place.backups.create(await orderOf(rig, mixedImage()))
    assert.is((await ended(rig)).state, 'complete')
  }),
)

buckets('what fails once is done again', () =>
  withServer(async (rig) => {
    const { server, place } = rig
    for (const operation of ['PutObject', 'HeadObject', 'ListObjectsV2', 'GetObject'] as const) {
      server.on({ operation, from: 2 }, { kind: 'refuse', status: 503, code: 'SlowDown' })
    }
    const image = mixedImage()
    await place.backups.create(await orderOf(rig, image))
    assert.is((await ended(rig)).state, 'complete')
  }),
)

buckets('a store that does not answer in time is no reason to give up for good', () =>
  withServer(async (rig) => {
    const { server, place } = rig
    server.on({}, { kind: 'stall', when: 'before' })
    const message = await messageOf(place.backups.create(await orderOf(rig, mixedImage())))
    assert.match(message, /^failed to create backup debian: DeadlineExceeded: /)
    assert.match(place.backups.status('debian').error, /DeadlineExceeded/)
  }, 200),
)

buckets('a bucket that is not there, or keys that are wrong, are told', () =>
  withServer(async (rig) => {
    const { place, credential, target } = rig
    const order = await orderOf(rig, mixedImage())
    const tries: [object, RegExp][] = [
      [{ backupTarget: 's3://nobody@us-east-1/x/' }, /failed to list .*NoSuchBucket/],
      [
        { backupTarget: 's3://images@us-east-1' },
        /invalid URL\. Must be either s3:\/\/bucket@region/,
      ],
      [
        { credential: { ...credential, AWS_ACCESS_KEY_ID: '' } },
        /s3 credential access key not found/,
      ],
      [{ credential: { ...credential, AWS_SECRET_ACCESS_KEY: '' } }, /secret access key not found/],
      [{ credential: { ...credential, AWS_ENDPOINTS: 'minio:9000' } }, /AWS_ENDPOINTS is no URL/],
      [{ credential: { ...credential, HTTP_PROXY: 'x y' } }, /HTTP_PROXY is no URL/],
    ]
    for (const [change, message] of tries) {
      assert.match(await messageOf(place.backups.create({ ...order, ...change })), message)
    }
    const url = `${target}?backingImage=debian`
    const missing = openBackup(url, credential, { concurrentLimit: 1, settleMs })
    assert.match(await messageOf(missing), /debian doesn't exist in backup store/)
  }),
)

buckets.run()
