// What the Longhorn that this server knows has, for those who would bring it here.

import {
  type DiskFile,
  type LonghornImage,
  type OverallState,
  isTemporary,
  overallState,
} from '@backing-image/longhorn'
import type { Hono } from 'hono'
import type { Env } from './front.ts'
import { readQuery } from './query.ts'
import { notConfigured } from './registered.ts'
import type { Front } from './upload.ts'

/** What `GET /v1/longhorn/backing-images` answers, in name order. */
export interface LonghornImagesView {
  data: LonghornImageView[]
}

export interface LonghornImageView {
  name: string
  /** Longhorn's word for where it came from. */
  sourceType: string
  size: number
  virtualSize: number
  /** SHA-512 as hex; empty as long as no copy is ready. */
  currentChecksum: string
  state: OverallState
  /** By the UUID of the disk. */
  disks: Record<string, DiskFile>
  /** Whether Longhorn has it from this server. */
  isOurs: boolean
}

export function addLonghornRoutes(app: Hono<Env>, { longhorn, config }: Front): void {
  const { publicUrl } = config
  app.get('/v1/longhorn/backing-images', async (c) => {
    readQuery(c)
    if (!longhorn.client) throw notConfigured()
    const images = await longhorn.client.list()
    const data = images
      .filter((image) => !isTemporary(image))
      .map((image) => viewOf(image, publicUrl))
      .toSorted((a, b) => (a.name < b.name ? -1 : 1))
    return c.json({ data } satisfies LonghornImagesView, 200, { 'Cache-Control': 'no-store' })
  })
}

function viewOf(image: LonghornImage, publicUrl: string | undefined): LonghornImageView {
  const { name, sourceType, size, virtualSize, currentChecksum, disks, parameters } = image
  const files = publicUrl === undefined ? undefined : `${publicUrl.replace(/\/+$/, '')}/files/`
  const isOurs =
    sourceType === 'download' &&
    files !== undefined &&
    parameters['url']?.startsWith(files) === true
  const state = overallState(image)
  return { name, sourceType, size, virtualSize, currentChecksum, state, disks, isOurs }
}
