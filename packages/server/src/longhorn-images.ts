// What the Longhorn that this server knows has, for those who would bring it here.

import {
  type DiskFile,
  type LonghornImage,
  type OverallState,
  isTemporary,
  isIssued,
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

export function addLonghornRoutes(app: Hono<Env>, { longhorn, store, config }: Front): void {
  app.get('/v1/longhorn/backing-images', async (c) => {
    readQuery(c)
    if (!longhorn.client) throw notConfigured()
    const { publicUrl } = config
    const files = publicUrl === undefined ? [] : [`${publicUrl.replace(/\/+$/, '')}/files/`]
    const cluster = longhorn.cluster?.report().cluster
    const registrations = await store.clusters.registrations(cluster)
    const isOurs = (image: LonghornImage): boolean =>
      files.some((base) => image.parameters['url']?.startsWith(base)) ||
      registrations.some((each) => each.registeredAs === image.name && isIssued(each, image))
    const images = await longhorn.client.list()
    const data = images
      .filter((image) => !isTemporary(image))
      .map((image) => viewOf(image, isOurs(image)))
      .toSorted((a, b) => (a.name < b.name ? -1 : 1))
    return c.json({ data } satisfies LonghornImagesView, 200, { 'Cache-Control': 'no-store' })
  })
}

function viewOf(image: LonghornImage, isOurs: boolean): LonghornImageView {
  const { name, sourceType, size, virtualSize, currentChecksum, disks } = image
  const state = overallState(image)
  return { name, sourceType, size, virtualSize, currentChecksum, state, disks, isOurs }
}
