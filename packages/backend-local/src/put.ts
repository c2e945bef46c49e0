// One put: reads its source once, gathers small chunks, writes, commits; and whatever fails, it
// leaves neither a temporary file nor an open handle, and lets its source go.

import { ImageError, exclusiveBytesMax, type Bytes, type PutOptions } from '@backing-image/core'
import type { BigIntStats } from 'node:fs'
import { unlessAborted } from './abort.ts'
import { Temporary } from './commit.ts'
import type { GuardedDisk } from './guarded.ts'
import type { Ballast, Reservation, Room } from './space.ts'
import { syncEveryBytes } from './writer.ts'

/** What fits in here is a small object: its body is kept, so that it can be written twice. */
const gatherBytes = exclusiveBytesMax
/** From this size on a chunk is written from where it is, instead of being copied. */
const directBytes = 256 * 1024

/** Reads the source of one put, and lets it go exactly once when the put does not reach its end. */
class Source {
  readonly #iterator: AsyncIterator<Uint8Array>
  readonly #signal: AbortSignal | undefined
  #isOver = false

  constructor(bytes: Bytes, signal: AbortSignal | undefined) {
    this.#iterator = bytes[Symbol.asyncIterator]()
    this.#signal = signal
  }

  /** Undefined at the end. The last chunk is no longer valid. */
  async next(): Promise<Uint8Array | undefined> {
    this.#signal?.throwIfAborted()
    const step = this.#iterator.next()
    // A source that has failed, also after we left it, has let itself go.
    step.catch(() => {
      this.#isOver = true
    })
    const result = await unlessAborted(step, this.#signal)
    if (!result.done) return result.value
    this.#isOver = true
    return undefined
  }

  /** What goes wrong here is hidden by the error that led here. */
  async letGo(): Promise<void> {
    if (this.#isOver) return
    this.#isOver = true
    try {
      await this.#iterator.return?.()
    } catch {}
  }
}

/** Where one put goes. */
export interface Target {
  disk: GuardedDisk
  root: string
  key: string
  /** The path of the object. */
  final: string
  /** Makes a new temporary file for this key; it tells what of it is durable. */
  begin: (onDurable: PutOptions['onDurable']) => Promise<Temporary>
  room: Room
  ballast: Ballast
}

/** Resolves when the object is durable, to how it stands. See Backend.put. */
export class Put {
  readonly #target: Target
  readonly #ifAbsent: boolean
  readonly #sizeBytes: number
  readonly #signal: AbortSignal | undefined
  readonly #keep: PutOptions['keep']
  readonly #onDurable: PutOptions['onDurable']
  #isKept: boolean | undefined
  #isOver = false
  #reservation: Reservation | undefined
  #temporary: Temporary | undefined
  #gathered: Buffer | undefined
  #gatheredBytes = 0
  #lengthBytes = 0
  #checkedBytes = 0

  constructor(target: Target, options: PutOptions) {
    this.#target = target
    this.#ifAbsent = options.ifAbsent ?? false
    this.#sizeBytes = options.size ?? 0
    this.#signal = options.signal
    this.#keep = options.keep
    this.#onDurable = options.onDurable
  }

  /** After an abort it tidies up behind its caller's back, whenever the call that hangs returns. */
  async run(bytes: Bytes): Promise<BigIntStats> {
    try {
      return await unlessAborted(this.#run(bytes), this.#signal)
    } catch (error) {
      this.#askToKeep(error)
      throw error
    } finally {
      this.#isOver = true
    }
  }

  /** Once, with whatever failed first, before the caller hears of it. */
  #askToKeep(error: unknown): boolean {
    this.#isKept ??= this.#keep?.(error) ?? false
    return this.#isKept
  }

  async #run(bytes: Bytes): Promise<BigIntStats> {
    const source = new Source(bytes, this.#signal)
    try {
      this.#signal?.throwIfAborted()
      this.#assertExclusive(this.#sizeBytes)
      // Small ones always have their try: the marks and records of a delete are such.
      const reservedBytes = this.#sizeBytes > gatherBytes ? this.#sizeBytes : 0
      this.#reservation = await this.#target.room.reserve(reservedBytes)
      for (;;) {
        const chunk = await source.next()
        if (!chunk) break
        await this.#take(chunk)
      }
      return await this.#finish()
    } catch (error) {
      const isKept = this.#askToKeep(error)
      // The sync in the background is no hang, as long as the guard waits for it.
      if (isKept && this.#signal?.aborted !== true) await this.#temporary?.settle()
      const tidied = this.#tidy(source, isKept)
      // What hangs is tidied behind our back, whenever it returns.
      if (!this.#hangs()) await tidied
      throw error
    } finally {
      this.#reservation?.release()
    }
  }

  #hangs(): boolean {
    return (this.#temporary?.returning ?? this.#target.disk.returning) !== undefined
  }

  /** Never rejects. */
  async #tidy(source: Source, isKept: boolean): Promise<void> {
    // Who aborts does not want to wait, nor does who waits for what hangs.
    const isInTime = !this.#hangs() && this.#signal?.aborted !== true
    // Every write was awaited, or left: then it still reads the last chunk.
    await this.#temporary?.returning
    const lettingGo = source.letGo()
    await this.#target.disk.returning
    if (isKept) await this.#leave(isInTime)
    else await this.#temporary?.discard()
    await lettingGo
  }

  async #leave(isToBeSynced: boolean): Promise<void> {
    const temporary = this.#temporary
    // What was gathered is too little to keep on its own; and where a write failed there is none.
    if (temporary && isToBeSynced) await this.#flush(temporary).catch(() => {})
    await temporary?.leave(isToBeSynced)
  }

  #assertExclusive(lengthBytes: number): void {
    if (!this.#ifAbsent || lengthBytes <= exclusiveBytesMax) return
    throw new ImageError(
      'invalid_argument',
      `${this.#target.key} is over the ${exclusiveBytesMax} bytes that can be put with ifAbsent.`,
    )
  }

  async #take(chunk: Uint8Array): Promise<void> {
    this.#lengthBytes += chunk.length
    this.#assertExclusive(this.#lengthBytes)
    this.#reservation?.use(chunk.length)
    if (this.#gatheredBytes + chunk.length <= gatherBytes && !this.#isDirect(chunk)) {
      this.#gather(chunk)
      return
    }
    // It is a large one.
    await this.#checkRoom()
    if (!this.#temporary) {
      this.#temporary = await this.#begin()
      await this.#temporary.appendDirectly()
    }
    await this.#flush(this.#temporary)
    if (chunk.length >= directBytes) {
      // Large chunks are not gathered, and one that brings them seldom brings others.
      this.#gathered = undefined
      await this.#temporary.append(chunk)
    } else {
      this.#gather(chunk)
    }
  }

  #begin(): Promise<Temporary> {
    const onDurable = this.#onDurable
    // What the tidying finds out nobody waits for any more.
    return this.#target.begin(onDurable && ((bytes) => void (this.#isOver || onDurable(bytes))))
  }

  #gather(chunk: Uint8Array): void {
    this.#gathered ??= Buffer.allocUnsafeSlow(gatherBytes)
    this.#gathered.set(chunk, this.#gatheredBytes)
    this.#gatheredBytes += chunk.length
  }

  /** The first MiB is copied all the same: it may be a whole small object. */
  #isDirect(chunk: Uint8Array): boolean {
    return this.#temporary !== undefined && chunk.length >= directBytes
  }

  async #flush(temporary: Temporary): Promise<void> {
    const body = this.#gathered?.subarray(0, this.#gatheredBytes)
    this.#gatheredBytes = 0
    if (body && body.length > 0) await temporary.append(body)
  }

  async #checkRoom(): Promise<void> {
    // As far as its size was told its room is reserved.
    if (this.#lengthBytes <= this.#sizeBytes) return
    if (this.#temporary && this.#lengthBytes - this.#checkedBytes < syncEveryBytes) return
    this.#checkedBytes = this.#lengthBytes
    await this.#target.room.assertFree(1)
  }

  async #finish(): Promise<BigIntStats> {
    const { root, final, ballast } = this.#target
    const options = { ifAbsent: this.#ifAbsent, signal: this.#signal }
    if (this.#temporary) {
      await this.#flush(this.#temporary)
      return await this.#temporary.commit(root, final, options)
    }
    const body = this.#gathered?.subarray(0, this.#gatheredBytes)
    return await ballast.spend(async () => {
      this.#signal?.throwIfAborted()
      // The second time: what the first has left.
      await this.#temporary?.discard()
      this.#temporary = await this.#begin()
      if (body) await this.#temporary.append(body)
      return await this.#temporary.commit(root, final, options)
    })
  }
}
