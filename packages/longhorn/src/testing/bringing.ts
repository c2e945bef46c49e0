// What tests of images that come from Longhorn are written in: a stand-in for its API, and stores over
// one medium that may fetch from there.

import { setTimeout as pause } from 'node:timers/promises'
import { type Image, ImageStore, type Parameters, type PullObserver } from '@backing-image/core'
import { type SourceType, readAll } from '@backing-image/core'
import { MemoryBackend, MemoryStore } from '@backing-image/core/testing'
import { LonghornClient } from '../client.ts'
import { ExportSource, type ExportSourceOptions } from '../export-source.ts'
import { ImportSource } from '../import-source.ts'
import type { Patience } from '../until-ready.ts'
import { LonghornStandIn } from './stand-in.ts'

export interface Bringing {
  standIn: LonghornStandIn
  client: LonghornClient
  medium: MemoryStore
  /** A server of its own process. */
  open: (changes?: Partial<Patience & ExportSourceOptions>) => Promise<ImageStore>
  /** What went wrong and was tried again, or stayed behind. */
  troubles: Error[]
}

const sizeMax = 2 ** 30
/** Nothing waits for long, and nothing is given up because this machine is slow. */
const testPatience: Patience = {
  pollIntervalMs: { first: 1, most: 20 },
  outageMaxMs: 600_000,
  stallMaxMs: 600_000,
}

export function bringing(claim: (rig: Bringing) => Promise<void>): () => Promise<void> {
  return async () => {
    const standIn = await LonghornStandIn.start()
    const client = new LonghornClient({ url: standIn.url })
    const medium = new MemoryStore()
    const troubles: Error[] = []
    const stores: ImageStore[] = []
    const nothing = (): void => {}
    const trouble = (error: Error): void => void troubles.push(error)
    const observer: PullObserver = {
      bytes: nothing,
      trouble,
      ready: nothing,
      failed: nothing,
      left: nothing,
    }
    const open: Bringing['open'] = async (changes = {}) => {
      const patience = { ...testPatience, ...changes }
      const exporting = { client, sizeMax, patience, clearUpMaxMs: 60_000, ...changes }
      const sources = {
        longhorn: new ImportSource({ client, patience }),
        'export-from-volume': new ExportSource(exporting),
      }
      const pulls = { sources, atOnce: 4, sizeMax: exporting.sizeMax, attemptDelayMs: 1 }
      const backend = new MemoryBackend({ shared: medium })
      const store = await ImageStore.open(backend, {
        pulls: { ...pulls, onPull: () => observer },
        onProblem: trouble,
      })
      stores.push(store)
      return store
    }
    try {
      await claim({ standIn, client, medium, open, troubles })
    } finally {
      for (const store of stores) await store.close()
      client.close()
      await standIn.stop()
    }
  }
}

export interface Asked {
  sourceType: SourceType
  parameters: Parameters
  expected?: string[]
  minNumberOfCopies?: number
}

/** Asks for an image of that name; resolves once that is accepted. */
export async function ask(store: ImageStore, name: string, asked: Asked): Promise<Image> {
  const { image } = await store.pull({
    name,
    sizeMax,
    description: {
      labels: {},
      dataEngine: 'v1',
      minNumberOfCopies: 0,
      nodeSelector: [],
      diskSelector: [],
      expected: [],
      ...asked,
    },
  })
  return image
}

/** The ingest once it is ready or has failed. */
export async function outcome(store: ImageStore, { name, uuid }: Image): Promise<Image> {
  for (;;) {
    const image = await store.get(name, { uuid })
    if (image.state === 'ready' || image.state === 'failed') return image
    await pause(5)
  }
}

export async function brought(store: ImageStore, name: string, asked: Asked): Promise<Image> {
  return await outcome(store, await ask(store, name, asked))
}

export async function bytesOf(store: ImageStore, name: string): Promise<Buffer> {
  const opened = await store.open(name)
  return await readAll(await opened.read(), sizeMax)
}
