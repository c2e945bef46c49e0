// Waiting for what the server works on by itself.

import type { ImageView } from '../view.ts'
import type { Client } from './client.ts'
import { startProgress } from './progress.ts'
import { imagePath } from './server-options.ts'
import type { Terminal } from './terminal.ts'

/** The same ingest when it is ready or failed; who watches sees how far it is. */
export async function ended(
  client: Client,
  accepted: ImageView,
  terminal: Terminal,
): Promise<ImageView> {
  const { name, uuid } = accepted
  // Somebody who watches wants to see it move.
  const wait = terminal.stderr.isTTY === true ? '1' : '60'
  const progress = startProgress(terminal, accepted.size || undefined, accepted.processedSize)
  let image = accepted
  try {
    while (image.state !== 'ready' && image.state !== 'failed') {
      const path = imagePath(name, { uuid, wait })
      const next: ImageView = await client.json('GET', path)
      progress.add(next.processedSize - image.processedSize)
      image = next
    }
  } finally {
    progress.stop()
  }
  return image
}

/** Why it failed, in its own words. */
export function failureOf({ message }: ImageView): string {
  return message || 'no reason is known.'
}
