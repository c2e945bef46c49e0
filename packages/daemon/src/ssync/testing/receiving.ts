// A receiver on a port of this machine, a sender's requests to it, and a look at what it leaves.

import { createHash } from 'node:crypto'
import { readFile, readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { type GuardedDisk, openDisk } from '@backing-image/backend-local'
import { openFiles, withFolder } from '@backing-image/backend-local/testing'
import { Hasher } from '@backing-image/core'
import * as assert from 'uvu/assert'
import { type Answer, Peer } from '../peer.ts'
import { type Received, Receiver, type ReceiverOptions } from '../receiver.ts'

export interface Rig {
  root: string
  /** Where the bytes go. */
  path: string
  disk: GuardedDisk
  hasher: Hasher
  stop: AbortController
  /** What was told by onProgress. */
  progress: number[]
  listen: (changes?: Partial<ReceiverOptions>) => Promise<Receiver>
}

/** One sender's requests. */
export interface Requests {
  get: (verb: string) => Promise<Answer>
  post: (verb: string, body?: Buffer) => Promise<Answer>
}

/** A claim about receivers; afterwards nothing may be open. */
export function receiving(claim: (rig: Rig) => Promise<void>): () => Promise<void> {
  return () =>
    withFolder(async (root) => {
      const hasher = new Hasher()
      const stop = new AbortController()
      const receivers: Receiver[] = []
      const progress: number[] = []
      const path = join(root, 'backing.tmp')
      const disk = openDisk(root)
      const { signal } = stop
      const onProgress = (lengthBytes: number): void => void progress.push(lengthBytes)
      const usual = { port: 0, host: '127.0.0.1', path, root, disk, hasher, signal, onProgress }
      const listen = async (changes: Partial<ReceiverOptions> = {}): Promise<Receiver> => {
        const receiver = await Receiver.listen({ ...usual, ...changes })
        receivers.push(receiver)
        return receiver
      }
      try {
        await claim({ root, path, disk, hasher, stop, progress, listen })
      } finally {
        await Promise.all(receivers.map((receiver) => receiver.close()))
        await hasher.close()
      }
      assert.equal(await openFiles(root), [])
    })
}

export function addressOf(receiver: Receiver): string {
  return `127.0.0.1:${receiver.port}`
}

/** Runs `ask` as a sender of that receiver. */
export async function asking<T>(
  receiver: Receiver,
  ask: (requests: Requests) => Promise<T>,
): Promise<T> {
  const peer = new Peer(addressOf(receiver), 5_000)
  try {
    return await ask({
      get: (verb) => peer.ask({ method: 'GET', verb }),
      post: (verb, body) => peer.ask({ method: 'POST', verb, body }),
    })
  } finally {
    peer.close()
  }
}

/** The query of a file that is opened. */
export function openOf(size: number, directIO: string = 'false'): string {
  return `open?begin=0&end=${size}&directIO=${directIO}`
}

export function sha512(content: Uint8Array): string {
  return createHash('sha512').update(content).digest('hex')
}

/** Claims that what was received is that content, and leaves nothing of it. */
export async function assertReceived(
  { root, path }: Rig,
  received: Received,
  content: Buffer,
): Promise<void> {
  const found = await readFile(path)
  assert.ok(found.equals(content), 'other bytes')
  assert.equal([received.size, received.sha512], [content.length, sha512(content)])
  await received.temporary.discard()
  assert.equal(await readdir(root), [])
}

/** What a promise rejects with. */
export async function failureOf(work: Promise<unknown>): Promise<Error & { code?: string }> {
  return await work.then(
    () => assert.unreachable('It was no failure.') as never,
    (error: unknown) => error as Error,
  )
}
