// What tests of pulls are written in: stores that may fetch from a web server on loopback.

import { setTimeout as pause } from 'node:timers/promises'
import type { Image } from '../image.ts'
import type { IngestRequest } from '../request.ts'
import { DownloadSource } from '../pull/download-source.ts'
import type { PullOptions } from '../pull/pulls.ts'
import type { Parameters } from '../record.ts'
import { AddressRules } from '../source/address-rules.ts'
import type { Credential } from '../source/credential.ts'
import { Fetcher } from '../source/fetcher.ts'
import type { ImageStore } from '../store.ts'
import type { StoreOptions } from '../store-options.ts'
import type { MemoryBackend } from './memory.ts'
import { type Instance, type Town, description, inTown, request } from './rig.ts'
import { Web } from './web.ts'

export interface Pulling {
  town: Town
  web: Web
  /** A server that may fetch from `web`. */
  open: (options?: Partial<PullOptions> & StoreOptions, on?: MemoryBackend) => Promise<Instance>
}

export interface DownloadRig {
  idleTimeoutMs?: number
  secrets?: Record<string, Credential>
}

/** The source type `download`, for loopback too. */
export function downloadSource(rig: DownloadRig = {}): DownloadSource {
  const rules = new AddressRules({ allow: ['127.0.0.0/8', '::1'] })
  return new DownloadSource({
    fetcher: new Fetcher({ rules, idleTimeoutMs: rig.idleTimeoutMs ?? 10_000 }),
    rules,
    credentialOf: async (name) => {
      const secret = rig.secrets?.[name]
      if (!secret) throw new Error(`There is no secret ${name}.`)
      return secret
    },
  })
}

/** A claim about servers that pull, and the web that they pull from. */
export function pulling(
  claim: (rig: Pulling) => Promise<void>,
  rig: DownloadRig = {},
): () => Promise<void> {
  return inTown(async (town) => {
    const web = await Web.start()
    const open: Pulling['open'] = async (options = {}, on?) => {
      const { sources = { download: downloadSource(rig) }, atOnce = 4, ...others } = options
      const pulls = { sizeMax: 2 ** 30, ...others, sources, atOnce }
      return await town.open({ ...others, pulls }, on)
    }
    try {
      await claim({ town, web, open })
    } finally {
      await web.stop()
    }
  })
}

/** A request to download. */
export function pullOf(
  name: string,
  parameters: Parameters,
  { expected = [], ...others }: Partial<IngestRequest> & { expected?: string[] } = {},
): IngestRequest {
  const described = description({ sourceType: 'download', parameters, expected })
  return { ...request(name, others), description: described }
}

/** The ingest of that uuid once it is ready or has failed. */
export async function outcome(store: ImageStore, { name, uuid }: Image): Promise<Image> {
  for (;;) {
    const image = await store.get(name, { uuid })
    if (image.state === 'ready' || image.state === 'failed') return image
    await pause(5)
  }
}

/** Asks for it, and waits for its end. */
export async function pulled(store: ImageStore, asked: IngestRequest): Promise<Image> {
  return await outcome(store, (await store.pull(asked)).image)
}
