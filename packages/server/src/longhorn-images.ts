// What the Longhorn that this server knows has, for those who would bring it here.

import { ImageError } from '@backing-image/core'
import {
  type DiskFile,
  type LonghornClient,
  type LonghornImage,
  type OverallState,
  overallState,
} from '@backing-image/longhorn'
import type { Hono } from 'hono'
import type { Env } from './front.ts'
import { readQuery } from './query.ts'
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
    const images = await known(longhorn).list()
    const data = images
      .map((image) => viewOf(image, publicUrl))
      .toSorted((a, b) => (a.name < b.name ? -1 : 1))
    return c.json({ data } satisfies LonghornImagesView, 200, { 'Cache-Control': 'no-store' })
  })
}

function known(longhorn: LonghornClient | undefined): LonghornClient {
  if (longhorn) return longhorn
  throw new ImageError(
    'failed_precondition',
    'LONGHORN_API_URL is not set: this server knows no Longhorn. It is like ' +
      'http://longhorn-backend.longhorn-system:9500.',
  )
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
