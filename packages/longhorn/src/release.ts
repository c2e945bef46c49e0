// Before an image is deleted here Longhorn must let it go: it knows whether a volume still needs it.

import { type Clusters, ImageError, type Ingest, type Registration } from '@backing-image/core'
import type { LonghornClient } from './client.ts'
import { LonghornError } from './failure.ts'
import { isIssued } from './registered.ts'
import { idOf } from './wanted.ts'

export interface Releasing {
  clusters: Clusters
  /** The cluster of this process and its Longhorn; absent where it knows none. */
  own?: { cluster: string; client: LonghornClient }
}

const force = '?force=true deletes it here and leaves what Longhorn has.'

/**
 * Has Longhorn delete what it knows of these ingests. Gives the registrations that are to be removed when
 * they are gone here, too. Rejects with `in_use` and Longhorn's words while a volume uses one, or while
 * another cluster has it, which only a server of that cluster can ask; with `unavailable` when Longhorn is
 * not reached. What was let go then is not registered again: the next try goes on from there.
 */
export async function release(
  { clusters, own }: Releasing,
  ingests: readonly Ingest[],
): Promise<Registration[]> {
  const ids = new Set(ingests.map(idOf))
  const found = (await clusters.registrations()).filter((each) => ids.has(idOf(each)))
  for (const registration of found) {
    if (registration.cluster === own?.cluster) await letGo(clusters, own.client, registration)
  }
  const others = found.filter(
    ({ cluster, retiredAt }) => cluster !== own?.cluster && retiredAt === undefined,
  )
  if (others.length === 0) return found
  const names = [...new Set(others.map(({ cluster }) => cluster))].join(', ')
  throw inUse(
    `The Longhorn of ${names} knows it, too, and only a server of that cluster can ask it: send the same ` +
      `request there. ${force}`,
  )
}

async function letGo(
  clusters: Clusters,
  client: LonghornClient,
  registration: Registration,
): Promise<void> {
  const { registeredAs } = registration
  // First: from now on nobody makes it known again.
  await clusters.update({ ...registration, retiredAt: new Date().toISOString() })
  try {
    const image = await client.get(registeredAs)
    // Not from here: somebody made another one in its place.
    if (!isIssued(registration, image)) return
    await client.delete(registeredAs)
  } catch (error) {
    if (!(error instanceof LonghornError)) throw error
    if (error.code === 'not_found') return
    const { retiredAt: _, ...before } = registration
    await clusters.update(before)
    if (error.isTransient) {
      throw new LonghornError(
        `Whether Longhorn needs it can not be known now: ${error.message} Try again, or ${force}`,
        { code: 'unavailable', cause: error },
      )
    }
    throw inUse(
      `Longhorn knows it as ${registeredAs} and does not let it go: ${error.message} ${force}`,
    )
  }
}

function inUse(message: string): ImageError {
  return new ImageError('failed_precondition', message, { reason: 'in_use' })
}
