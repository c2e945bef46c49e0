// Waiting for an image to be ready or failed, whichever process works on it.

import { setTimeout as delay } from 'node:timers/promises'
import type { Image } from './image.ts'

const pollMs = 1000

/** The image when it is ready or failed, or as it stands after `timeoutMs`. */
export async function waitForEnd(
  get: () => Promise<Image>,
  timeoutMs: number,
  signal?: AbortSignal,
): Promise<Image> {
  const endMs = performance.now() + timeoutMs
  for (;;) {
    const image = await get()
    const leftMs = endMs - performance.now()
    if (image.state === 'ready' || image.state === 'failed' || leftMs <= 0) return image
    await delay(Math.min(pollMs, leftMs), undefined, { ...(signal && { signal }) })
  }
}
