// What Longhorn has put on the disk that this server shares with it: to be seen, and nothing else.

import { ImageError } from '@backing-image/core'
import type { Hono } from 'hono'
import type { Env } from './front.ts'
import { readQuery } from './query.ts'
import type { Front } from './upload.ts'

export function addDiskRoutes(app: Hono<Env>, { disk }: Front): void {
  app.get('/v1/longhorn/disk-images', async (c) => {
    readQuery(c)
    if (!disk) throw notServed()
    return c.json({ data: await disk.images() }, 200, { 'Cache-Control': 'no-store' })
  })
}

function notServed(): ImageError {
  return new ImageError(
    'failed_precondition',
    'This server shares no disk with Longhorn: start it with --longhorn-disk DIR.',
  )
}
