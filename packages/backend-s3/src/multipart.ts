// One put of a body of any size: its source is read once into part buffers, and the parts are
// stored side by side. Whatever fails, the first failure is what is told, and nothing is left.

import { DeleteObjectCommand } from '@aws-sdk/client-s3'
import { type ImageError, isImageError } from '@backing-image/core'
import type { Bytes, PutOptions, Stat } from '@backing-image/core'
import { randomBytes } from 'node:crypto'
import type { Bucket } from './bucket.ts'
import type { Budget, Share } from './budget.ts'
import { type Begun, goOn } from './remains.ts'
import { type Plan, bytesMaxOf, plainBytesMax, planFor, segmentParts } from './segments.ts'
import { temporaryKey, tooLarge } from './segments.ts'
import { idOf } from './unfinished.ts'
import { Source, unlessAborted } from './source.ts'
import { type Found, Upload } from './upload.ts'
import { putWhole } from './whole.ts'

/** How many parts of one put are stored at a time. */
const partsInFlightMax = 3
/** What fits in here, and most objects do, takes no buffer of the budget. */
const gatherBytesMax = 1024 * 1024
const gatherBytesMin = 16 * 1024

/** Where puts go, and what they share. */
export interface Place {
  bucket: Bucket
  /** One for the process. */
  budget: Budget
  /** Other parts than usual; for tests. */
  plan?: Partial<Plan>
  /** How long a last step without a clear answer is repeated; a minute, unless in tests. */
  unclearMs?: number
  /** What aborted puts still clean up, having rejected: to be awaited before the process ends. */
  tidying?: Set<Promise<void>>
  /** Learnt: the store does not copy into parts, so that an object must do with its plain parts. */
  cannotJoin?: boolean
}

/**
 * Stores `bytes` under `key`, replacing what is there; see Backend.put, whose `ifAbsent` is not
 * kept here. Rejects with the first error; with `resource_exhausted` (too_large) for more than the
 * store can hold, before the first byte where `size` tells; with `unavailable` when it is not known
 * whether the last step happened.
 */
export async function putStream(
  place: Place,
  key: string,
  bytes: Bytes,
  options: PutOptions = {},
): Promise<Stat> {
  const { signal, after } = options
  signal?.throwIfAborted()
  const begun = after && (await goOn(place, key, after, signal))
  return await new StreamPut(place, key, options, begun).run(bytes)
}

class StreamPut {
  readonly #place: Place
  readonly #key: string
  readonly #signal: AbortSignal | undefined
  readonly #options: PutOptions
  #toldBytes = 0
  readonly #sizeHint: number
  readonly #plan: Plan
  readonly #share: Share
  /** Aborted by the first failure, and with it every request. */
  readonly #stop = new AbortController()
  #failure: { error: unknown } | undefined
  #buffer: Buffer | undefined
  #filledBytes = 0
  #sentBytes = 0
  /** Every upload that was begun, so that none is forgotten. The first is of the object itself. */
  readonly #begun: Promise<Upload>[] = []
  #main: Upload | undefined
  /** The upload that the next part goes to: the main one, or a segment; and what it holds. */
  #current: { upload: Upload; partsMax: number } | undefined
  #joining: Promise<void> = Promise.resolve()
  readonly #id: string = randomBytes(8).toString('hex')

  constructor(place: Place, key: string, options: PutOptions, begun?: Begun) {
    this.#place = place
    this.#key = key
    this.#signal = options.signal
    this.#options = options
    this.#sizeHint = options.size ?? 0
    const usual = planFor(this.#sizeHint, place.plan)
    const { upload, partBytes = usual.partBytes } = begun ?? {}
    this.#plan = { ...usual, partBytes }
    this.#share = place.budget.share(partBytes, partsInFlightMax + 1)
    if (this.#sizeHint > this.#bytesMax) throw this.#tooLarge()
    if (!upload) return
    this.#begun.push(Promise.resolve(upload))
    this.#main = upload
    this.#current = { upload, partsMax: usual.partsMax }
    this.#sentBytes = upload.sizeBytes
    this.#toldBytes = upload.sizeBytes
  }

  async run(bytes: Bytes): Promise<Stat> {
    const leave = (): void => this.#fail(this.#signal?.reason)
    this.#signal?.addEventListener('abort', leave, { once: true })
    if (this.#signal?.aborted) leave()
    const source = new Source(bytes, this.#stop.signal)
    try {
      for (;;) {
        const chunk = await source.next()
        if (!chunk) break
        await this.#take(chunk)
      }
      return { key: this.#key, ...(await this.#finish()) }
    } catch (error) {
      const isKept = await this.#giveUp(error)
      source.letGo()
      await this.#leaveTidily(isKept)
      throw this.#failure?.error
    } finally {
      this.#signal?.removeEventListener('abort', leave)
    }
  }

  #fail(error: unknown): void {
    this.#failure ??= { error }
    this.#stop.abort(error)
  }

  /** Ends everything, with what failed first. Resolves to whether what is stored stays. */
  async #giveUp(error: unknown): Promise<boolean> {
    const isFirst = this.#failure === undefined
    this.#failure ??= { error }
    const isKept = this.#options.keep?.(this.#failure.error) ?? false
    if (isFirst && isKept && this.#main) {
      // The parts under way are to stay, too, unless somebody does not want to wait for them.
      await unlessAborted(this.#main.settled(), this.#stop.signal).catch(() => undefined)
    }
    this.#stop.abort(error)
    return isKept
  }

  /** Copies the chunk: it is not ours to keep. */
  async #take(chunk: Uint8Array): Promise<void> {
    for (let offset = 0; offset < chunk.length;) {
      // Only when more has come is it known that a full buffer is not the whole object.
      if (this.#filledBytes === this.#plan.partBytes) await this.#send()
      this.#buffer = await this.#roomFor(chunk.length - offset)
      const piece = chunk.subarray(offset, offset + this.#buffer.length - this.#filledBytes)
      this.#buffer.set(piece, this.#filledBytes)
      this.#filledBytes += piece.length
      offset += piece.length
      if (this.#main && this.#filledBytes === this.#plan.partBytes) await this.#send()
    }
  }

  /** The buffer, with room for some of what comes: a small one that grows, or one of a part. */
  async #roomFor(moreBytes: number): Promise<Buffer> {
    const { partBytes } = this.#plan
    const old = this.#buffer
    const neededBytes = this.#filledBytes + moreBytes
    if (old && (old.length === partBytes || neededBytes <= old.length)) return old
    const isSmall = !this.#main && neededBytes <= Math.min(gatherBytesMax, partBytes - 1)
    const grownBytes = Math.max(neededBytes, gatherBytesMin, 2 * (old?.length ?? 0))
    const grown = isSmall
      ? Buffer.allocUnsafeSlow(Math.min(grownBytes, gatherBytesMax, partBytes - 1))
      : await this.#share.take(this.#stop.signal)
    old?.copy(grown, 0, 0, this.#filledBytes)
    return grown
  }

  /** Sends the buffer as a part, without waiting for its end. */
  async #send(): Promise<void> {
    const upload = await this.#uploadForNext()
    const body = this.#buffer
    if (!body) return
    const sending = upload.sendPart(body.subarray(0, this.#filledBytes), this.#stop.signal)
    this.#sentBytes += this.#filledBytes
    this.#buffer = undefined
    this.#filledBytes = 0
    const settled = sending.then(() => this.#tell()).catch((error: unknown) => this.#fail(error))
    void settled.then(() => this.#share.give(body))
  }

  /** Parts that are stored side by side are durable when none before them is missing. */
  #tell(): void {
    const { partBytes, partsMax } = this.#plan
    const main = this.#main
    const count = main?.storedParts(partBytes) ?? 0
    // With segments after them they are nothing to go on from.
    if (!main || this.#stop.signal.aborted || count >= partsMax) return
    if (count * partBytes <= this.#toldBytes) return
    this.#toldBytes = count * partBytes
    this.#options.onDurable?.(this.#toldBytes, idOf(this.#key, main.id))
  }

  async #uploadForNext(): Promise<Upload> {
    const full = this.#current
    if (full && full.upload.partCount < full.partsMax) return full.upload
    if (!full) {
      const upload = await this.#begin(this.#key)
      this.#main = upload
      this.#current = { upload, partsMax: this.#plan.partsMax }
      return upload
    }
    if (full.upload !== this.#main) await this.#join(full.upload)
    const index = this.#begun.length - 1
    const partsMax = segmentParts(this.#plan, index, this.#sizeHint - this.#sentBytes)
    if (partsMax === undefined || this.#place.cannotJoin) throw this.#tooLarge()
    const upload = await this.#begin(temporaryKey(this.#id, this.#key, index))
    this.#current = { upload, partsMax }
    return upload
  }

  async #begin(key: string): Promise<Upload> {
    const { bucket, unclearMs } = this.#place
    const beginning = Upload.begin(bucket, key, unclearMs)
    this.#begun.push(beginning)
    return await unlessAborted(beginning, this.#stop.signal)
  }

  /** Makes a segment a part of the object, beside the parts that follow, but one at a time. */
  async #join(segment: Upload): Promise<void> {
    await this.#joining
    this.#joining = this.#joinNow(segment)
    this.#joining.catch((error: unknown) => this.#fail(error))
  }

  async #joinNow(segment: Upload): Promise<void> {
    await segment.complete()
    this.#stop.signal.throwIfAborted()
    try {
      await this.#main?.copyPart(segment, this.#stop.signal)
    } catch (error) {
      if (!isImageError(error, 'unimplemented')) throw error
      this.#place.cannotJoin = true
      throw this.#tooLarge(error)
    }
    // What can not be deleted is found by the sweeper.
    await this.#deleteObject(segment).catch(() => undefined)
  }

  async #finish(): Promise<Found> {
    if (!this.#main) {
      const body = this.#buffer?.subarray(0, this.#filledBytes) ?? Buffer.alloc(0)
      const options = { signal: this.#stop.signal, onSent: () => this.#release() }
      return await putWhole(this.#place.bucket, this.#key, body, options)
    }
    if (this.#filledBytes > 0) await this.#send()
    if (this.#current && this.#current.upload !== this.#main) await this.#join(this.#current.upload)
    await unlessAborted(this.#joining, this.#stop.signal)
    // It is not cut off when the put is aborted: the store may be at it, and must not be disturbed.
    return await unlessAborted(this.#main.complete(), this.#stop.signal)
  }

  /** Removes every trace that is not kept; when the put was aborted, it goes on with that on its own. */
  async #leaveTidily(isKept: boolean): Promise<void> {
    this.#release()
    const { tidying } = this.#place
    const tidied = this.#tidy(isKept)
    tidying?.add(tidied)
    void tidied.then(() => tidying?.delete(tidied))
    const left = this.#signal ? unlessAborted(tidied, this.#signal) : tidied
    await left.catch(() => undefined)
  }

  /** Waits for what is in flight first. What can not be removed is found by the sweeper. */
  async #tidy(isKept: boolean): Promise<void> {
    await Promise.allSettled([this.#joining])
    for (const [index, beginning] of this.#begun.entries()) {
      try {
        const upload = await beginning
        await upload.settled()
        // With segments there is nothing to go on from.
        const isOfUse = this.#begun.length === 1 && upload.storedParts(this.#plan.partBytes) > 0
        if (isKept && isOfUse) continue
        await upload.abandon()
        if (index > 0) await this.#deleteObject(upload)
      } catch {}
    }
  }

  async #deleteObject({ key }: Upload): Promise<void> {
    const { bucket } = this.#place
    await bucket.send(new DeleteObjectCommand(bucket.at(key)), { what: `delete ${key}` })
  }

  /** Gives the buffer back that no request reads. */
  #release(): void {
    if (this.#buffer?.length === this.#plan.partBytes) this.#share.give(this.#buffer)
    this.#buffer = undefined
  }

  get #bytesMax(): number {
    return this.#place.cannotJoin ? plainBytesMax(this.#plan) : bytesMaxOf(this.#plan)
  }

  #tooLarge(cause?: unknown): ImageError {
    const { cannotJoin = false } = this.#place
    return tooLarge(this.#key, { bytesMax: this.#bytesMax, cannotJoin, cause })
  }
}
