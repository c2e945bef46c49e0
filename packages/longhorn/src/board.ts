// What was last seen of the images of a store in every cluster that shares it, kept in memory for whoever
// shows an image.

import type { ClusterStatus, Clusters, Image, ImageStatus } from '@backing-image/core'
import { idOf } from './wanted.ts'

export class StatusBoard {
  readonly #clusters: Clusters
  #statuses = new Map<string, ClusterStatus>()

  constructor(clusters: Clusters) {
    this.#clusters = clusters
  }

  /** Reads what the leading processes have told, but for that of the cluster that is led here. */
  async refresh(own?: string): Promise<void> {
    const found = await this.#clusters.statuses()
    const statuses = new Map(found.map((status) => [status.cluster, status]))
    const ours = own === undefined ? undefined : this.#statuses.get(own)
    if (ours) statuses.set(ours.cluster, ours)
    this.#statuses = statuses
  }

  /** Of the cluster that is led here: this process knows better than the store. */
  put(status: ClusterStatus): void {
    this.#statuses.set(status.cluster, status)
  }

  get(cluster: string): ClusterStatus | undefined {
    return this.#statuses.get(cluster)
  }

  /** By cluster. */
  of(image: Pick<Image, 'name' | 'uuid'>): Record<string, ImageStatus> {
    const found: Record<string, ImageStatus> = {}
    for (const { cluster, images } of this.#statuses.values()) {
      const status = images[idOf(image)]
      if (status) found[cluster] = status
    }
    return found
  }
}
