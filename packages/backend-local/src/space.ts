// How much room the medium has for what is still to come: what is free, less what running puts will
// take and a low-water mark; and a little ballast, so that a full medium can still be tidied.

import { ImageError, isImageError } from '@backing-image/core'
import { createFlags } from './commit.ts'
import type { Disk, FreeBlocks } from './disk.ts'

const gibibyte = 1024 ** 3
const ballastBytes = 256 * 1024

/** A part of the free space that one put has claimed. */
export interface Reservation {
  /** So many bytes have arrived: they count as used by now, or never will be (a hole). */
  use(bytes: number): void
  release(): void
}

/** The free space under one root. */
export class Room {
  readonly #disk: Disk
  readonly #root: string
  readonly #lowWaterBytes: number | undefined
  #reservedBytes = 0

  constructor(disk: Disk, root: string, lowWaterBytes: number | undefined) {
    this.#disk = disk
    this.#root = root
    this.#lowWaterBytes = lowWaterBytes
  }

  /** What a new put may take, and what the medium holds in all. */
  async measure(): Promise<{ freeBytes: number; totalBytes: number }> {
    return this.#count(await this.#disk.statfs(this.#root))
  }

  #count({ bsize, blocks, bavail }: FreeBlocks): { freeBytes: number; totalBytes: number } {
    const totalBytes = blocks * bsize
    // A medium that is full to the last byte serves nobody, so some of it is kept.
    const lowWaterBytes = this.#lowWaterBytes ?? Math.min(totalBytes / 100, gibibyte)
    const freeBytes = Math.floor(bavail * bsize - lowWaterBytes - this.#reservedBytes)
    return { freeBytes: Math.max(0, freeBytes), totalBytes }
  }

  /** Rejects with `resource_exhausted` when less than `neededBytes` are free. */
  async assertFree(neededBytes: number): Promise<void> {
    this.#assertFree(await this.#disk.statfs(this.#root), neededBytes)
  }

  #assertFree(blocks: FreeBlocks, neededBytes: number): void {
    const { freeBytes } = this.#count(blocks)
    if (freeBytes >= neededBytes) return
    throw new ImageError(
      'resource_exhausted',
      `${neededBytes} bytes more are needed, but ${this.#root} has ${freeBytes} bytes free for ` +
        'images. Delete images or enlarge the medium.',
      { reason: 'no_space', expected: String(neededBytes), actual: String(freeBytes) },
    )
  }

  /** Claims room for `sizeBytes`; rejects with `resource_exhausted` when there is less. */
  async reserve(sizeBytes: number): Promise<Reservation> {
    // No await between the count and the claim: two puts can not both take the last room.
    if (sizeBytes > 0) this.#assertFree(await this.#disk.statfs(this.#root), sizeBytes)
    let leftBytes = sizeBytes
    this.#reservedBytes += leftBytes
    const use = (bytes: number): void => {
      const used = Math.min(bytes, leftBytes)
      leftBytes -= used
      this.#reservedBytes -= used
    }
    return { use, release: () => use(leftBytes) }
  }
}

/**
 * A small file to throw away when the medium is full to the last block: deleting an image writes
 * marks first, and some file systems even need room to remove a name. One for all processes.
 */
export class Ballast {
  readonly #disk: Disk
  readonly #path: string
  readonly #room: Room
  #isThere = false

  constructor(disk: Disk, path: string, room: Room) {
    this.#disk = disk
    this.#path = path
    this.#room = room
  }

  /** Makes the file when it is missing and there is room. Never rejects: it is only a provision. */
  async restock(): Promise<void> {
    if (this.#isThere) return
    try {
      if ((await this.#room.measure()).freeBytes < 2 * ballastBytes) return
      const file = await this.#disk.open(this.#path, createFlags, 0o644)
      this.#isThere = true
      try {
        // Not zeros, which some file systems do not allocate.
        await file.write(Buffer.alloc(ballastBytes, 'ballast '), 0)
      } finally {
        await file.close()
      }
    } catch (error) {
      // Another process has made it.
      if (isImageError(error, 'already_exists')) this.#isThere = true
    }
  }

  /** Does `work`; when the medium is full, drops the ballast and does it once more. */
  async spend<T>(work: () => Promise<T>): Promise<T> {
    try {
      return await work()
    } catch (error) {
      if (!isImageError(error, 'resource_exhausted') || error.reason !== 'no_space') throw error
      this.#isThere = false
      try {
        await this.#disk.unlink(this.#path)
      } catch {
        throw error
      }
      return await work()
    }
  }
}
