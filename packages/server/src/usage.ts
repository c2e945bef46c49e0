// What of the storage is used by what, as a resource and as gauges.

import type { ImageStore, Usage } from '@backing-image/core'
import type { Hono } from 'hono'
import type { Env } from './front.ts'
import { decodeToken, encodeToken, pageMax, pageUsual } from './page-token.ts'
import { readCount, readQuery } from './query.ts'
import type { Front } from './upload.ts'

export function addUsageRoute(app: Hono<Env>, front: Front): void {
  app.get('/v1/usage', async (c) => {
    const query = readQuery(c, 'limit', 'continue')
    const limit = readCount('limit', query.limit ?? pageUsual, 1, pageMax)
    const after = query.continue === undefined ? '' : decodeToken(query.continue)
    const { names, space, ...counts } = await front.store.usage()
    const rest = names.filter(({ name }) => name > after)
    const data = rest.slice(0, limit)
    return c.json({
      names: names.length,
      ...counts,
      free: space?.freeBytes ?? null,
      total: space?.totalBytes ?? null,
      data,
      continue: rest.length > limit ? encodeToken(data.at(-1)?.name ?? '') : null,
    })
  })
}

/** By kind, for the gauge of the bytes in the storage. */
export async function storageBytes(
  store: Pick<ImageStore, 'usage'>,
): Promise<ReadonlyMap<string, number>> {
  const { logical, allocated, shared, inFlight, space }: Usage = await store.usage()
  return new Map([
    ...Object.entries({ logical, allocated, shared, in_flight: inFlight.received }),
    ...Object.entries(space ? { free: space.freeBytes, total: space.totalBytes } : {}),
  ])
}
