// What the tests of the source type `sync` are written in: stores that pull from another manager, and
// images that are told apart block by block.

import { blockBytes } from '../../blocks.ts'
import type { Image } from '../../image.ts'
import type { IngestRequest } from '../../request.ts'
import { AddressRules } from '../../source/address-rules.ts'
import { Fetcher } from '../../source/fetcher.ts'
import type { ImageStore } from '../../store.ts'
import { content } from '../../testing/conformance/case.ts'
import type { MemoryBackend } from '../../testing/memory.ts'
import { outcome, pulling } from '../../testing/pulling.ts'
import { type Instance, type Town, description, request, streamOf } from '../../testing/rig.ts'
import { SyncSource } from '../sync-source.ts'
import { Manager } from './manager.ts'

export interface Syncing {
  town: Town
  manager: Manager
  /** What was tried again, in all servers. */
  troubles: Error[]
  /** A server that may sync. */
  open(on?: MemoryBackend): Promise<Instance>
  /** Asks for an image of `manager`. */
  ask(store: ImageStore, more?: Asking): Promise<Image>
  /** The same once it is ready or has failed. */
  sync(store: ImageStore, more?: Asking): Promise<Image>
}

interface Asking {
  name?: string
  version?: string
  expected?: string[]
  /** Also where the same was asked for before. */
  force?: boolean
}

const tail = 1000

/** Blocks named by their seeds, 0 being zeros; the last one is short. */
export function imageOf(...seeds: number[]): Buffer {
  const blocks = seeds.map((seed) =>
    seed === 0 ? Buffer.alloc(blockBytes) : content(blockBytes, seed),
  )
  const image = Buffer.concat(blocks).subarray(0, (seeds.length - 1) * blockBytes + tail)
  // It must not happen to begin as some other format does.
  if (seeds[0] !== 0) image.fill(0, 0, 512)
  return image
}

/** A claim about servers that sync from a manager with that image. */
export function syncing(
  image: Buffer,
  claim: (rig: Syncing) => Promise<void>,
): () => Promise<void> {
  return pulling(async ({ town, web, open }) => {
    const manager = new Manager(web, image)
    const rules = new AddressRules({ allow: ['127.0.0.0/8'] })
    const fetcher = new Fetcher({ rules, idleTimeoutMs: 60_000 })
    const credentialOf = async () => ({ headers: { 'x-key': 's3cr3t' }, hosts: ['127.0.0.1'] })
    const sync = new SyncSource({ fetcher, rules, credentialOf, retryDelaysMs: [0, 0, 0] })
    const troubles: Error[] = []
    const onPull = () => ({
      bytes: () => {},
      ready: () => {},
      failed: () => {},
      left: () => {},
      trouble: (error: Error) => void troubles.push(error),
    })
    const ask: Syncing['ask'] = async (
      store,
      { name = 'copy', version, expected = [], force = false } = {},
    ) => {
      const parameters = { from: manager.base.href, name: 'base', ...(version && { version }) }
      const described = description({ sourceType: 'sync', parameters, expected })
      const asked: IngestRequest = { ...request(name), description: described }
      return (await store.pull(asked, { force })).image
    }
    try {
      await claim({
        town,
        manager,
        troubles,
        open: async (on) => await open({ sources: { sync }, onPull }, on),
        ask,
        sync: async (store, more) =>
          await outcome(store, await ask(store, { force: true, ...more })),
      })
    } finally {
      fetcher.close()
    }
  })
}

/** Puts an image there by an upload. */
export async function upload(store: ImageStore, name: string, image: Buffer): Promise<Image> {
  return (await store.ingest(request(name), () => streamOf(image, blockBytes))).image
}
