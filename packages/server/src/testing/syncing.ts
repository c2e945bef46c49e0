// What the tests of two servers are written in, of which one syncs from the other over a wire that is
// watched and can be cut.

import { randomBytes } from 'node:crypto'
import type { Backend } from '@backing-image/core'
import { MemoryBackend } from '@backing-image/core/testing'
import * as assert from 'uvu/assert'
import type { Config } from '../config.ts'
import { Relay } from './relay.ts'
import { type Serving, type Viewed, ask, askJson, servingOn } from './serving.ts'

export const blockBytes: number = 4 * 1024 * 1024

/** Nothing here is about silence or about the limit of a size. */
export const patient: Partial<Config> = {
  idleTimeoutMs: 60_000,
  sourceIdleTimeoutMs: 60_000,
  imageBytesMax: 2 ** 30,
}

export interface Two {
  sender: Serving<Backend>
  receiver: Serving<Backend>
  /** Between them. */
  relay: Relay
  /** The sender, as the receiver is told of it. */
  from: string
}

export interface TwoOptions {
  senderConfig?: Partial<Config>
  receiverConfig?: Partial<Config>
  senderBackend?: Backend
  receiverBackend?: Backend
}

/** A claim about two servers; each on a memory of its own unless it is told otherwise. */
export function two(
  claim: (rig: Two) => Promise<void>,
  options: TwoOptions = {},
): () => Promise<void> {
  return async () => {
    const { senderBackend = new MemoryBackend(), receiverBackend = new MemoryBackend() } = options
    const sender = await servingOn(senderBackend, { ...patient, ...options.senderConfig })
    const receiver = await servingOn(receiverBackend, { ...patient, ...options.receiverConfig })
    const relay = await Relay.start(sender.port)
    try {
      await claim({ sender, receiver, relay, from: relay.url })
    } finally {
      await receiver.close()
      await relay.stop()
      await sender.close()
    }
  }
}

/** A disk of random blocks but for those that are named, which are zeros; the last one is short. */
export function diskOf(blocks: number, zeros: (block: number) => boolean = () => false): Buffer {
  const disk = Buffer.alloc(blocks * blockBytes - 1024)
  for (let block = 0; block < blocks; block++) if (!zeros(block)) change(disk, block)
  disk.fill(0, 0, 512)
  disk.writeUInt16LE(0xaa55, 510)
  return disk
}

/** Gives a block other random bytes. */
export function change(disk: Buffer, block: number): void {
  const start = block * blockBytes
  randomBytes(Math.min(blockBytes, disk.length - start)).copy(disk, start)
}

/** Asks for a sync, also of what has come before; resolves with the path of the job. */
export async function accept(
  server: Pick<Serving, 'port'>,
  name: string,
  parameters: object,
  more: object = {},
): Promise<string> {
  const { status, headers, json } = await askJson(server, 'POST', '/v1/backing-images?force=true', {
    body: JSON.stringify({ name, sourceType: 'sync', parameters, ...more }),
    headers: { 'content-type': 'application/json' },
  })
  if (status !== 202) throw new Error(`${status} ${JSON.stringify(json)}`)
  const { pathname, search } = new URL(headers.location ?? '')
  return pathname + search
}

/** The image once it is ready or has failed. */
export async function ended(server: Pick<Serving, 'port'>, path: string): Promise<Viewed> {
  for (;;) {
    const { json } = await askJson(server, 'GET', `${path}&wait=60`)
    if (json.state === 'ready' || json.state === 'failed') return json
  }
}

export async function synced(
  server: Pick<Serving, 'port'>,
  name: string,
  parameters: object,
  more: object = {},
): Promise<Viewed> {
  return await ended(server, await accept(server, name, parameters, more))
}

/** The server has just these bytes. */
export async function assertSame(
  server: Pick<Serving, 'port'>,
  name: string,
  disk: Buffer,
): Promise<void> {
  const { body } = await ask(server, 'GET', `/v1/backing-images/${name}/download`)
  assert.ok(body.equals(disk), 'the bytes differ')
}
