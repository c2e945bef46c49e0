// The bytes of an image: Longhorn must send when they are wanted, and may wait while they are not.

import { randomBytes } from 'node:crypto'
import { setTimeout as pause } from 'node:timers/promises'
import { gzipSync } from 'node:zlib'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { LonghornClient } from './client.ts'
import { payloadOf } from './payload.ts'
import { parseImage } from './resource.ts'
import { readyImage, resourceOf } from './testing/stand-in-image.ts'
import { LonghornStandIn } from './testing/stand-in.ts'

const payload = suite('the bytes of an image of Longhorn')

// More than the sockets of both sides hold.
const disk = randomBytes(32 * 1024 * 1024)
/** Made beforehand: meanwhile nothing would come. */
const packed = gzipSync(disk, { level: 1 })

function reading(
  idleTimeoutMs: number,
  claim: (rig: { standIn: LonghornStandIn; bytes: AsyncGenerator<Uint8Array> }) => Promise<void>,
): () => Promise<void> {
  return async () => {
    const standIn = await LonghornStandIn.start()
    const client = new LonghornClient({ url: standIn.url, idleTimeoutMs })
    const image = readyImage('jammy', disk, { bytes: Buffer.alloc(512) })
    standIn.payload = () => ({ sent: packed })
    standIn.images.set('jammy', image)
    const told = parseImage(resourceOf(image, standIn.url))
    if (!told) throw new Error('The stand-in shows no image.')
    try {
      await claim({ standIn, bytes: payloadOf(client, told, new AbortController().signal) })
    } finally {
      client.close()
      await standIn.stop()
    }
  }
}

payload(
  'a reader that is slow gets all of them',
  reading(2000, async ({ bytes }) => {
    const parts: Buffer[] = []
    for await (const chunk of bytes) {
      if (parts.length === 0) await pause(3000)
      parts.push(Buffer.from(chunk))
    }
    assert.ok(Buffer.concat(parts).equals(disk))
  }),
)

payload(
  'a Longhorn that falls silent ends it',
  reading(1000, async ({ standIn, bytes }) => {
    standIn.payload = () => ({ sent: packed.subarray(0, 100_000), end: 'silent' })
    const error = await (async () => {
      for await (const chunk of bytes) void chunk
    })().catch((reason: unknown) => reason)
    assert.match((error as Error).message, /not give jammy whole: nothing came for 1 s/)
  }),
)

payload(
  'who leaves in the middle leaves no connection',
  reading(60_000, async ({ standIn, bytes }) => {
    standIn.payload = () => ({ sent: packed.subarray(0, 10_000_000), end: 'silent' })
    await bytes.next()
    await bytes.return(undefined)
    assert.is((await bytes.next()).done, true)
    assert.is(standIn.count('GET', /download$/), 1)
  }),
)

payload.run()
