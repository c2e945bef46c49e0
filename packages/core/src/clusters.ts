// What the clusters that share a store call its images, and what was last seen of them there: small objects
// under `.longhorn/`, one folder a cluster (docs/layout.md).

import pLimit from 'p-limit'
import { type Backend, type Bytes, bytesOf, readAll } from './backend.ts'
import { isImageError, orUndefined } from './errors.ts'
import { Leader } from './leader.ts'
import { leaderKey, longhornPrefix, parseClusterKey, registrationKey } from './layout.ts'
import { clusterPrefix, layoutVersion, statusKey } from './layout.ts'
import { parseObject } from './record.ts'

/** The name of one ingest in one cluster. No other gets it as long as either side still has that ingest. */
export interface Registration {
  cluster: string
  registeredAs: string
  name: string
  /** The version that brought the ingest, or pointed at it when it was registered. */
  version: string
  uuid: string
  /** Where that cluster is told to fetch it. */
  url: string
  /** Where it was told so before, the oldest first: what it made then is as much ours. */
  formerUrls?: string[]
  createdAt: string
  /** When it was taken away there, because it is to be deleted here. */
  retiredAt?: string
  /** It was taken away there for nothing, and is to be there again. */
  isOwed?: true
}

/** One copy, on one disk. */
export interface CopyStatus {
  state: string
  /** 0 to 100. */
  progress: number
  message: string
}

/** What a cluster makes of one ingest. */
export interface ImageStatus {
  /** What it is called there; empty when it is not known there. */
  name: string
  state: string
  message: string
  /** By the UUID of the disk. */
  disks: Record<string, CopyStatus>
}

/** What the leading process of a cluster has last seen there. */
export interface ClusterStatus {
  cluster: string
  /** ISO 8601. */
  at: string
  /** Whether it answers. */
  isReached: boolean
  /** What is wrong; empty when nothing is. */
  message: string
  /** By `<name>-<uuid>`. */
  images: Record<string, ImageStatus>
}

const readsAtOnce = 16
/** 10,000 images with three copies each stay below. */
const statusBytesMax = 16 * 1024 * 1024

interface Read {
  tag: string
  value: object | undefined
}

export class Clusters {
  readonly #backend: Backend
  readonly #limit = pLimit(readsAtOnce)
  /** What was read, by key: what has the same tag still need not be read again. */
  #known = new Map<string, Read>()
  readonly #unreadable = new Set<string>()

  constructor(backend: Backend) {
    this.#backend = backend
  }

  /** Who speaks to a cluster. */
  leader(cluster: string): Leader {
    return new Leader(this.#backend, leaderKey(cluster))
  }

  /** All that there are, of one cluster or of all, as the store has them now. */
  async registrations(cluster?: string): Promise<Registration[]> {
    const found = await this.#look(cluster, 'registration')
    return (found as Partial<Registration>[]).filter(isWhole)
  }

  /** Keys of registrations that can not be read, as the last look at them has shown. */
  get unreadable(): string[] {
    return [...this.#unreadable]
  }

  /** What can not be read stands in the way of what it was: without it that is found out anew. */
  async removeUnreadable(key: string): Promise<void> {
    if (!this.#unreadable.delete(key)) return
    await this.#backend.delete(key)
    this.#known.delete(key)
  }

  /** What was last seen in each cluster, as the store has it now. */
  async statuses(): Promise<ClusterStatus[]> {
    const found = (await this.#look(undefined, 'status')) as Partial<ClusterStatus>[]
    return found.flatMap(({ cluster, at = '', isReached = false, message = '', images = {} }) =>
      cluster === undefined ? [] : [{ cluster, at, isReached, message, images }],
    )
  }

  /** The registration as it is now. */
  async registration(cluster: string, registeredAs: string): Promise<Registration | undefined> {
    const key = registrationKey(cluster, registeredAs)
    const bytes = await orUndefined(this.#backend.get(key))
    const found: Partial<Registration> | undefined = bytes && (await this.#parse(key, bytes))
    return found && isWhole(found) ? found : undefined
  }

  /** Takes a name; false where it is taken, be it by the like. */
  async reserve(registration: Registration): Promise<boolean> {
    try {
      await this.#put(registration, true)
      return true
    } catch (error) {
      if (isImageError(error, 'already_exists')) return false
      throw error
    }
  }

  /** Writes what has changed of a registration. */
  async update(registration: Registration): Promise<void> {
    await this.#put(registration, false)
  }

  /** Its name may be given to another from now on. */
  async remove({ cluster, registeredAs }: Registration): Promise<void> {
    await this.#backend.delete(registrationKey(cluster, registeredAs))
  }

  async tell(status: ClusterStatus): Promise<void> {
    const text = `${JSON.stringify({ layout: layoutVersion, ...status })}\n`
    await this.#backend.put(statusKey(status.cluster), bytesOf(text))
  }

  async #put(registration: Registration, ifAbsent: boolean): Promise<void> {
    const { cluster, registeredAs } = registration
    const text = `${JSON.stringify({ layout: layoutVersion, ...registration }, null, 2)}\n`
    await this.#backend.put(registrationKey(cluster, registeredAs), bytesOf(text), { ifAbsent })
  }

  async #look(cluster: string | undefined, kind: 'registration' | 'status'): Promise<object[]> {
    const prefix = cluster === undefined ? longhornPrefix : clusterPrefix(cluster)
    const found: Promise<object | undefined>[] = []
    const seen = new Set<string>()
    for await (const { key, tag } of this.#backend.list(prefix)) {
      if (parseClusterKey(key)?.kind !== kind) continue
      seen.add(key)
      found.push(this.#limit(async () => await this.#read(key, tag)))
    }
    const values = await Promise.all(found)
    for (const key of this.#unreadable) {
      if (key.startsWith(prefix) && !seen.has(key)) this.#unreadable.delete(key)
    }
    for (const key of this.#known.keys()) {
      const isLookedAt = key.startsWith(prefix) && parseClusterKey(key)?.kind === kind
      if (isLookedAt && !seen.has(key)) this.#known.delete(key)
    }
    return values.filter((value) => value !== undefined)
  }

  async #read(key: string, tag: string): Promise<object | undefined> {
    const known = this.#known.get(key)
    if (known?.tag === tag) return known.value
    const bytes = await orUndefined(this.#backend.get(key))
    if (!bytes) return undefined
    const value = await this.#parse(key, bytes)
    this.#known.set(key, { tag, value })
    const isNone = !value || !isWhole(value)
    if (parseClusterKey(key)?.kind === 'registration' && isNone) this.#unreadable.add(key)
    else this.#unreadable.delete(key)
    return value
  }

  /** Undefined for what can not be read: that is as good as none, and its name stays taken. */
  async #parse(key: string, bytes: Bytes): Promise<object | undefined> {
    try {
      return parseObject(key, (await readAll(bytes, statusBytesMax)).toString())
    } catch (error) {
      if (!isImageError(error, 'data_loss')) throw error
      return undefined
    }
  }
}

function isWhole(found: Partial<Registration>): found is Registration {
  const { cluster, registeredAs, name, version, uuid, url } = found
  return [cluster, registeredAs, name, version, uuid, url].every((each) => typeof each === 'string')
}
