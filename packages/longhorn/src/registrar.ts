// Makes Longhorn know the images of a store, again and again: what is missing there is made, what is there
// is told of. Of the processes of one store and cluster one does it. Nothing is taken away here but what was
// just made, of an image that was deleted meanwhile.

import { setTimeout as pause } from 'node:timers/promises'
import {
  type Clusters,
  type Image,
  type ImageStatus,
  type ImageStore,
  type Published,
  type Registration,
  asError,
  isImageError,
  sectorBytes,
} from '@backing-image/core'
import type { LonghornClient } from './client.ts'
import { LonghornError } from './failure.ts'
import { longhornNames } from './name.ts'
import { placementOf } from './placement.ts'
import { foreign, isIssued, nothing, originOf, statusOf } from './registered.ts'
import type { LonghornImage } from './resource.ts'
import { owed } from './release.ts'
import { Retries } from './retries.ts'
import { firstOf, idOf } from './wanted.ts'

export interface Registering {
  client: LonghornClient
  store: Pick<ImageStore, 'clusters' | 'openFile'>
  cluster: string
  /** The permanent URL of an image, or of its aligned rendition; undefined where there is none. */
  urlOf: (image: Image, isAligned: boolean) => string | undefined
  /** Told of each image that Longhorn was made to know. */
  onRegistered?: (registration: Registration) => void
  /** The least time between two that are made, in milliseconds. */
  createIntervalMs?: number
  signal: AbortSignal
}

/** Ten a second: five hundred images take a minute, and Longhorn has time for others. */
const usualCreateIntervalMs = 100
const formerUrlsMax = 20
/** A delete that goes from cluster to cluster has so long, by the clocks of the servers. */
const retiredMostMs = 600_000

/** One process's way of registering: what it has tried in vain is tried again later. */
export class Registrar {
  readonly #options: Registering
  readonly #clusters: Clusters
  readonly #retries = new Retries()
  #madeAtMs = -Infinity

  constructor(options: Registering) {
    this.#options = options
    this.#clusters = options.store.clusters
  }

  /**
   * One round: registers what is wanted and is not there, as long as `mayGoOn` says so, and gives what is
   * to be said of each, by `<name>-<uuid>`. `seen` is what Longhorn has, by name: what is made is added.
   * Rejects with a LonghornError as soon as Longhorn is not reached.
   */
  async round(
    published: readonly Published[],
    wanted: readonly Published[],
    seen: Map<string, LonghornImage>,
    mayGoOn: (images: Record<string, ImageStatus>) => Promise<boolean>,
  ): Promise<Record<string, ImageStatus>> {
    const { cluster } = this.#options
    const book = new Map<string, Registration>()
    const byId = new Map<string, Registration>()
    const registrations = await this.#clusters.registrations(cluster)
    for (const registration of registrations) {
      book.set(registration.registeredAs, registration)
      byId.set(idOf(registration), registration)
    }
    const images: Record<string, ImageStatus> = {}
    const missing: Published[] = []
    const isWanted = new Set(wanted.map(({ image }) => idOf(image)))
    for (const each of firstOf(published)) {
      const { image } = each
      const id = idOf(image)
      const found = byId.get(id)
      const known = found && (await this.#reconsidered(found))
      if (known) byId.set(id, known)
      else if (!isWanted.has(id)) continue
      const status = known
        ? statusOf(known, seen.get(known.registeredAs))
        : (originOf(image, seen) ?? nothing(''))
      images[id] = status
      const isDue = known?.isOwed === true || isWanted.has(id)
      if (!isDue || known?.retiredAt !== undefined) continue
      if (status.state === 'absent' || status.name === '') missing.push(each)
    }
    for (const each of missing) {
      const id = idOf(each.image)
      const waiting = this.#retries.waiting(id)
      if (waiting) {
        images[id] = waiting
        continue
      }
      if (!(await mayGoOn(images))) break
      images[id] = await this.#register(each, byId.get(id), { book, seen })
    }
    await this.#forget(registrations, published, seen)
    this.#retries.keepOnly(new Set(missing.map(({ image }) => idOf(image))))
    return images
  }

  async #register(
    each: Published,
    known: Registration | undefined,
    { book, seen }: { book: Map<string, Registration>; seen: Map<string, LonghornImage> },
  ): Promise<ImageStatus> {
    const { image } = each
    const id = idOf(image)
    try {
      const rendition = await this.#rendition(image)
      if (rendition.url === undefined) return nothing('')
      const { url } = rendition
      const registration = known
        ? await this.#renew(known, url)
        : await this.#reserve(each, url, { book, seen })
      if (typeof registration === 'string') {
        return { ...nothing(''), state: 'conflict', message: registration }
      }
      // It is being deleted, or another process was faster: the next round sees what came of it.
      if (!registration) return nothing('')
      book.set(registration.registeredAs, registration)
      const found = seen.get(registration.registeredAs)
      const made = found ?? (await this.#create(image, registration, rendition.sha512))
      if (!found && !(await this.#isStillMeant(registration))) {
        if (isIssued(registration, made)) await this.#options.client.delete(made.name)
        return nothing('')
      }
      seen.set(made.name, made)
      const { isOwed, ...settled } = registration
      if (isOwed) await this.#clusters.update(settled)
      this.#retries.forget(id)
      this.#options.onRegistered?.(registration)
      return statusOf(registration, made)
    } catch (error) {
      if (this.#options.signal.aborted) throw error
      const status = this.#retries.failed(id, known?.registeredAs ?? '', wordsOf(error))
      // The next round begins with the others: it may be just this one.
      if (error instanceof LonghornError && error.isTransient) throw error
      return status
    }
  }

  /** What was let go to be deleted, and is here still, comes back after some time. */
  async #reconsidered(registration: Registration): Promise<Registration> {
    const { retiredAt } = registration
    const isOver = retiredAt !== undefined && Date.now() - Date.parse(retiredAt) > retiredMostMs
    if (!isOver) return registration
    const now = await this.#clusters.registration(registration.cluster, registration.registeredAs)
    if (now?.retiredAt !== retiredAt) return registration
    await this.#clusters.update(owed(now))
    return owed(now)
  }

  /** What Longhorn is to fetch: whole sectors. */
  async #rendition(image: Image): Promise<{ url: string | undefined; sha512: string }> {
    const { store, urlOf } = this.#options
    const isAligned = image.size % sectorBytes !== 0
    const opened = await store.openFile(image.name, image.uuid, isAligned)
    return { url: urlOf(image, isAligned), sha512: opened.image.currentChecksum }
  }

  /** Whether nobody has deleted it, here or there, while it was made. */
  async #isStillMeant(registration: Registration): Promise<boolean> {
    const { store } = this.#options
    const { cluster, registeredAs, name, uuid } = registration
    const now = await this.#clusters.registration(cluster, registeredAs)
    if (!now || now.retiredAt !== undefined) return false
    try {
      await store.openFile(name, uuid)
      return true
    } catch (error) {
      if (!isImageError(error, 'not_found')) throw error
      await this.#clusters.remove(registration)
      return false
    }
  }

  /**
   * Gives the names of images that are gone here and there to whoever comes next. What only Longhorn still
   * has keeps its name: nothing else may be taken for it.
   */
  async #forget(
    registrations: readonly Registration[],
    published: readonly Published[],
    seen: ReadonlyMap<string, LonghornImage>,
  ): Promise<void> {
    const there = new Set(published.map(({ image }) => idOf(image)))
    for (const registration of registrations) {
      if (there.has(idOf(registration)) || seen.has(registration.registeredAs)) continue
      await this.#isStillMeant(registration)
    }
  }

  /** One that Longhorn has lost keeps its name; its URL is that of today. */
  async #renew(known: Registration, url: string): Promise<Registration | undefined> {
    const now = await this.#clusters.registration(known.cluster, known.registeredAs)
    if (!now || now.retiredAt !== undefined || idOf(now) !== idOf(known)) return undefined
    if (now.url === url) return now
    const formerUrls = [...(now.formerUrls ?? []), now.url].slice(-formerUrlsMax)
    const renewed = { ...now, url, formerUrls }
    await this.#clusters.update(renewed)
    return renewed
  }

  /** The first name that is free, or is that of just this image; else why there is none. */
  async #reserve(
    { image, sequence }: Published,
    url: string,
    { book, seen }: { book: Map<string, Registration>; seen: Map<string, LonghornImage> },
  ): Promise<Registration | string | undefined> {
    let why = ''
    for (const registeredAs of longhornNames(image.name, image.version, sequence === 1)) {
      const other = book.get(registeredAs)
      const there = seen.get(registeredAs)
      if (other) {
        why = `${registeredAs} is what ${other.name} ${other.version} is called there already.`
        continue
      }
      // What is on its way out makes room soon.
      if (there && there.deletedAt !== '') return undefined
      if (there && there.parameters['url'] !== url) {
        why = foreign(registeredAs)
        continue
      }
      const { name, version, uuid } = image
      const { cluster } = this.#options
      const createdAt = new Date().toISOString()
      const registration = { cluster, registeredAs, name, version, uuid, url, createdAt }
      return (await this.#clusters.reserve(registration)) ? registration : undefined
    }
    return why
  }

  async #create(
    image: Image,
    { registeredAs, url }: Registration,
    sha512: string,
  ): Promise<LonghornImage> {
    const { client, signal, createIntervalMs = usualCreateIntervalMs } = this.#options
    const restMs = this.#madeAtMs + createIntervalMs - performance.now()
    if (restMs > 0) await pause(restMs, undefined, { signal })
    this.#madeAtMs = performance.now()
    const placement = placementOf(image)
    const made = await client
      .create(
        {
          name: registeredAs,
          sourceType: 'download',
          parameters: { url },
          expectedChecksum: sha512,
          ...placement,
        },
        signal,
      )
      .catch(async (error: unknown) => await this.#there(registeredAs, error))
    if (made.name === registeredAs) return made
    // Not by its rules as they are known: what it made is ours, and nobody would find it again.
    if (made.parameters['url'] === url) await client.delete(made.name, signal)
    throw new LonghornError(
      `Longhorn calls ${registeredAs} ${made.name}, against its own rules: it was taken away again.`,
      { code: 'failed_precondition' },
    )
  }

  /** A look may be older than what was made, or the answer lost: then it is there. */
  async #there(registeredAs: string, error: unknown): Promise<LonghornImage> {
    if (!(error instanceof LonghornError) || error.isTransient) throw error
    const { client, signal } = this.#options
    return await client.get(registeredAs, signal).catch(() => {
      throw error
    })
  }
}

function wordsOf(error: unknown): string {
  const { message } = asError(error)
  return /\bv2 backing image is not supported\b/.test(message)
    ? `${message} Fill a volume by CDI instead: backing-image manifest NAME --kind DataVolume.`
    : message
}
