// Servers that share a store and know a Longhorn, for tests: its stand-in fetches from them for real.

import { createServer } from 'node:net'
import type { AddressInfo } from 'node:net'
import type { Image, ImageStatus } from '@backing-image/core'
import { MemoryBackend, type MemoryStore } from '@backing-image/core/testing'
import { LonghornStandIn } from '@backing-image/longhorn/testing'
import type { Config, LonghornConfig } from '../config.ts'
import { type Serving, askJson, eventually, serving } from './serving.ts'

export interface Clustered {
  longhorn: LonghornStandIn
  /** A further server of the same store, after the first was opened by the first call. */
  open(config?: Partial<Config>, longhorn?: Partial<LonghornConfig>): Promise<Serving>
}

/** Runs a claim with a Longhorn, and ends all servers that it opened. */
export function clustered(claim: (rig: Clustered) => Promise<void>): () => Promise<void> {
  return async () => {
    const longhorn = await LonghornStandIn.start()
    const opened: Serving[] = []
    let shared: MemoryStore | undefined
    const open: Clustered['open'] = async (config = {}, more = {}) => {
      const port = await freePort()
      const backend = new MemoryBackend(shared ? { shared } : {})
      shared ??= backend.store
      const about = { apiUrl: longhorn.url, authToken: undefined, cluster: 'one' }
      const server = await serving(
        {
          port,
          publicUrl: `http://images.test:${port}`,
          longhorn: { ...about, register: 'all', ...more },
          ...config,
        },
        backend,
      )
      opened.push(server)
      return server
    }
    try {
      await claim({ longhorn, open })
    } finally {
      for (const server of opened) await server.close()
      await longhorn.stop()
    }
  }
}

/** One that nobody listens at now. */
async function freePort(): Promise<number> {
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  await new Promise((resolve) => server.close(resolve))
  return port
}

type Known = Image & { longhorn: Record<string, ImageStatus> }

/** What a server says of an image. */
export async function knownOf(server: Serving, path: string): Promise<Known> {
  return (await askJson(server, 'GET', `/v1/backing-images/${path}`)).json as unknown as Known
}

/** Waits until it says that of an image. */
export async function becomes(
  server: Serving,
  path: string,
  state: string,
  cluster = 'one',
): Promise<ImageStatus> {
  let found: ImageStatus | undefined
  await eventually(async () => {
    found = (await knownOf(server, path)).longhorn[cluster]
    return found?.state === state
  })
  if (!found) throw new Error(`nothing is said of ${path}`)
  return found
}
