// Before an image is deleted here Longhorn must let it go: it knows whether a volume still needs it.

import { setTimeout as pause } from 'node:timers/promises'
import { type Clusters, ImageError, type Ingest, type Registration } from '@backing-image/core'
import type { LonghornClient } from './client.ts'
import { LonghornError } from './failure.ts'
import { isIssued } from './registered.ts'
import type { LonghornImage } from './resource.ts'
import { idOf } from './wanted.ts'

export interface Releasing {
  clusters: Clusters
  /** The cluster of this process and its Longhorn; absent where it knows none. */
  own?: Own
}

export interface Own {
  cluster: string
  client: LonghornClient
  /** What it was last seen to have. */
  seen: readonly LonghornImage[]
  /** Whether a URL is one of this store's, of that ingest. */
  isUrlOf: (url: string, ingest: Ingest) => boolean
}

const force = '?force=true deletes it here and leaves what Longhorn has.'
const goneTriesMax = 10
const goneDelayMs = 200

/**
 * Has Longhorn delete what it knows of these ingests. Gives the registrations that are to be removed when
 * they are gone here, too. Rejects with `in_use` and Longhorn's words while a volume uses one, or while
 * another cluster has it, which only a server of that cluster can ask; with `unavailable` when Longhorn is
 * not reached, and `data_loss` where it can not be known what is registered. What it had let go by then
 * is owed: it comes back by itself.
 */
export async function release(
  { clusters, own }: Releasing,
  ingests: readonly Ingest[],
): Promise<Registration[]> {
  const ids = new Set(ingests.map(idOf))
  const found = (await clusters.registrations()).filter((each) => ids.has(idOf(each)))
  const [unreadable] = clusters.unreadable
  if (unreadable !== undefined) throw unknown(unreadable)
  if (own) {
    found.push(...strayOf(own, ingests, found))
    const mine = found.filter(({ cluster }) => cluster === own.cluster)
    await letAllGo(clusters, own.client, mine)
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

/** What Longhorn has from here although nothing here says so: as if it had been registered. */
function strayOf(
  { cluster, seen, isUrlOf }: Own,
  ingests: readonly Ingest[],
  found: readonly Registration[],
): Registration[] {
  const known = new Set(found.flatMap((each) => (each.cluster === cluster ? [idOf(each)] : [])))
  return ingests
    .filter((ingest) => !known.has(idOf(ingest)))
    .flatMap(({ name, uuid }) =>
      seen.flatMap(({ name: registeredAs, parameters: { url = '' } }) =>
        isUrlOf(url, { name, uuid })
          ? [{ cluster, registeredAs, name, uuid, version: '', url, createdAt: '' }]
          : [],
      ),
    )
}

/** All of them, or in the end none. */
async function letAllGo(
  clusters: Clusters,
  client: LonghornClient,
  registrations: readonly Registration[],
): Promise<void> {
  const gone: Registration[] = []
  try {
    for (const registration of registrations) {
      await letGo(clusters, client, registration)
      gone.push(registration)
    }
  } catch (error) {
    for (const registration of gone) await clusters.update(owed(registration))
    throw error
  }
}

/** The same, to be made again. */
export function owed(registration: Registration): Registration {
  const { retiredAt: _, ...before } = registration
  return { ...before, isOwed: true }
}

async function letGo(
  clusters: Clusters,
  client: LonghornClient,
  registration: Registration,
): Promise<void> {
  const { registeredAs } = registration
  // First: from now on nobody makes it known again.
  await clusters.update({ ...registration, retiredAt: new Date().toISOString() })
  let isAsked = false
  try {
    const image = await client.get(registeredAs)
    // Not from here: somebody made another one in its place.
    if (!isIssued(registration, image) || image.deletedAt !== '') return
    isAsked = true
    await client.delete(registeredAs)
    await untilGone(client, registeredAs)
  } catch (error) {
    if (!(error instanceof LonghornError)) throw error
    if (error.code === 'not_found') return
    const { retiredAt: _, ...before } = registration
    await clusters.update(before)
    if (error.isTransient || !isAsked) {
      throw new LonghornError(
        `Whether Longhorn needs it can not be known now. ${error.message} Try again, or ${force}`,
        { code: 'unavailable', cause: error },
      )
    }
    throw inUse(
      `Longhorn knows it as ${registeredAs} and does not let it go. ${error.message} ${force}`,
    )
  }
}

/** What answered may have been something else than Longhorn: it must be on its way out. */
async function untilGone(client: LonghornClient, name: string): Promise<void> {
  for (let tries = 0; tries < goneTriesMax; tries += 1) {
    // Gone is `not_found`.
    if ((await client.get(name)).deletedAt !== '') return
    await pause(goneDelayMs)
  }
  throw new LonghornError(`Longhorn answered that it deletes ${name}, and still has it.`, {
    code: 'unavailable',
  })
}

function unknown(key: string): ImageError {
  return new ImageError(
    'data_loss',
    `What Longhorn knows is not certain: ${key} can not be read. Try again in a minute, when the server ` +
      `that registers has put that right. ${force}`,
  )
}

function inUse(message: string): ImageError {
  return new ImageError('failed_precondition', message, { reason: 'in_use' })
}
