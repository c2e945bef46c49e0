// An image is deleted here and in Longhorn, or in neither of the two.

import { type Image, type Ingest, ingestId } from '@backing-image/core'
import { idOf, release } from '@backing-image/longhorn'
import type { Front } from './upload.ts'

interface Removal {
  version?: string
  /** Longhorn is not asked, and keeps what it has. */
  isForced: boolean
}

/** Deletes a version or all of a name, here and in Longhorn; refused while Longhorn uses it. */
export async function removeEverywhere(
  front: Front,
  name: string,
  { version, isForced }: Removal,
): Promise<void> {
  const { store } = front
  const all = isForced ? [] : await store.versions(name)
  const isMeant = (image: Image): boolean => version === undefined || image.version === version
  // What a rollback still points at stays.
  const kept = new Set(all.filter((image) => !isMeant(image)).map(idOf))
  const ingests = all.filter((image) => isMeant(image) && !kept.has(idOf(image)))
  const registrations = ingests.length === 0 ? [] : await release(releasing(front), ingests)
  await store.remove(name, version === undefined ? {} : { version })
  for (const registration of registrations) await store.clusters.remove(registration)
}

function releasing({ store, longhorn, config }: Front): Parameters<typeof release>[0] {
  const { client, cluster } = longhorn
  const base = config.publicUrl?.replace(/\/+$/, '')
  const own = client &&
    cluster && {
      cluster: cluster.report().cluster,
      client,
      seen: cluster.seen,
      isUrlOf: (url: string, { name, uuid }: Ingest) =>
        base !== undefined && url.startsWith(`${base}/files/${ingestId(name, uuid)}/`),
    }
  return { clusters: store.clusters, ...(own && { own }) }
}
