// Two whole servers, of which one syncs from the other: what passes between them, and what is there in
// the end, whatever goes wrong on the way.

import { createHash, randomBytes } from 'node:crypto'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { Relay } from './testing/relay.ts'
import { type Serving, type Viewed, ask, askJson, put, serving } from './testing/serving.ts'

const sync = suite('sync')

const blockBytes = 4 * 1024 * 1024
/** Nothing here is about silence. */
const patient = { idleTimeoutMs: 60_000, sourceIdleTimeoutMs: 60_000 }

interface Two {
  sender: Serving
  receiver: Serving
  /** Between them. */
  relay: Relay
}

function two(claim: (rig: Two) => Promise<void>): () => Promise<void> {
  return async () => {
    const sender = await serving(patient)
    const receiver = await serving(patient)
    const relay = await Relay.start(sender.port)
    try {
      await claim({ sender, receiver, relay })
    } finally {
      await receiver.close()
      await relay.stop()
      await sender.close()
    }
  }
}

/** A disk of random blocks, each of which `zeros` makes empty. */
function diskOf(blocks: number, zeros: readonly number[] = []): Buffer {
  const disk = randomBytes(blocks * blockBytes - 1024)
  disk.fill(0, 0, 512)
  disk.writeUInt16LE(0xaa55, 510)
  for (const block of zeros) disk.fill(0, block * blockBytes, (block + 1) * blockBytes)
  return disk
}

async function accept(
  server: Pick<Serving, 'port'>,
  name: string,
  parameters: object,
  more: object = {},
): Promise<string> {
  const { status, headers, json } = await askJson(server, 'POST', '/v1/backing-images', {
    body: JSON.stringify({ name, sourceType: 'sync', parameters, ...more }),
    headers: { 'content-type': 'application/json' },
  })
  if (status !== 202) throw new Error(`${status} ${JSON.stringify(json)}`)
  const { pathname, search } = new URL(headers.location ?? '')
  return pathname + search
}

/** As it is when it is ready or has failed. */
async function ended(server: Pick<Serving, 'port'>, path: string): Promise<Viewed> {
  for (;;) {
    const { json } = await askJson(server, 'GET', `${path}&wait=60`)
    if (json.state === 'ready' || json.state === 'failed') return json
  }
}

async function synced(
  server: Pick<Serving, 'port'>,
  name: string,
  parameters: object,
  more: object = {},
): Promise<Viewed> {
  return await ended(server, await accept(server, name, parameters, more))
}

async function assertSame(server: Pick<Serving, 'port'>, name: string, disk: Buffer) {
  const { body } = await ask(server, 'GET', `/v1/backing-images/${name}/download`)
  assert.ok(body.equals(disk), 'the bytes differ')
}

sync(
  'an image comes over with its size, digests, format and labels',
  two(async ({ sender, receiver, relay }) => {
    const disk = diskOf(2)
    const given = await put(sender, 'base?version=2024-1&label=os=debian&label=tier=a', disk)
    const parameters = { from: `${relay.url}/`, name: 'base' }
    const image = await synced(receiver, 'copy', parameters, { labels: { tier: 'b' } })
    assert.is(image.state, 'ready', image.message)
    assert.equal(
      [image.size, image.format, image.checksums, image.virtualSize],
      [given.size, given.format, given.checksums, given.virtualSize],
    )
    assert.equal(image.labels, { os: 'debian', tier: 'b' })
    assert.equal(image.parameters, { ...parameters, version: '2024-1' })
    assert.is(image.sourceType, 'sync')
    assert.is(image.checksums.sha512, createHash('sha512').update(disk).digest('hex'))
    await assertSame(receiver, 'copy', disk)
    assert.equal(receiver.problems, [])
  }),
)

sync.run()
