// What tests of exports are written in: a volume in the stand-in, and what becomes of its exports.

import { randomBytes } from 'node:crypto'
import { setTimeout as pause } from 'node:timers/promises'
import type { Image, ImageStore } from '@backing-image/core'
import * as assert from 'uvu/assert'
import { type Asked, type Bringing, bringing } from './bringing.ts'
import type { LonghornStandIn } from './stand-in.ts'

/** Of the volume `data`. */
export const disk: Buffer = Buffer.concat([
  Buffer.alloc(4096),
  randomBytes(1_000_448),
  Buffer.alloc(700_416),
])
export const data: Asked = {
  sourceType: 'export-from-volume',
  parameters: { 'volume-name': 'data', 'export-type': 'raw' },
}

export function ofVolume(claim: (rig: Bringing) => Promise<void>): () => Promise<void> {
  return bringing(async (rig) => {
    rig.standIn.volumes.set('data', disk)
    await claim(rig)
  })
}

/** How many exports were made, and that none is left. */
export function assertOneAndGone({ standIn }: Bringing): void {
  assert.is(standIn.count('POST', /./), 1)
  assert.is(standIn.images.size, 0)
}

export async function until(check: () => boolean): Promise<void> {
  while (!check()) await pause(2)
}

/** An export that goes on until it is told how it ends. */
export function held(standIn: LonghornStandIn): (failure?: string) => void {
  let end = (_failure?: string): void => {}
  const ended = new Promise<string | undefined>((resolve) => (end = resolve))
  standIn.exporting = async () => await ended
  return end
}

/** It has ended, and all that comes after that is done. */
export async function gone(store: ImageStore, image: Image): Promise<void> {
  while ((await store.inFlight()).some(({ uuid }) => uuid === image.uuid)) await pause(2)
}
