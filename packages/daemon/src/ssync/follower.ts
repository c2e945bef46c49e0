// Reads a file behind those who fill it, out of the page cache while it is there, and makes its SHA-512
// and its virtual size: when the last byte has come nearly nothing is left to do.

import { FormatInspector, type Hasher, isImageError, sectorBytes } from '@backing-image/core'
import type { OpenFile } from '@backing-image/backend-local'
import { Intervals, type Interval } from './intervals.ts'

/** What is found out about the bytes of a file. */
export interface Findings {
  /** As 128 lower-case hex digits. */
  sha512: string
  /** The disk that a guest sees, in bytes. */
  virtualSize: number
}

const readBytes = 1024 * 1024
/** A smaller hole is read with what is around it. */
const holeBytesMin = 256 * 1024
/** More holes than this between the reader and the writers are read. */
const holesMax = 10_000
const zeros = Buffer.alloc(readBytes)

export class Follower {
  readonly #file: OpenFile
  readonly #size: number
  readonly #holes = new Intervals(holesMax)
  #frontier = 0
  #failure: { error: unknown } | undefined
  #wake: (() => void) | undefined
  /** Rejects with `unsafe_image`, with what the disk or `stop` says. */
  readonly findings: Promise<Findings>

  /** `file` is open for reading and stays so until `findings` has settled; of `size` bytes once whole. */
  constructor(file: OpenFile, size: number, hasher: Hasher) {
    this.#file = file
    this.#size = size
    this.findings = this.#find(hasher)
    // Whoever fills the file may look much later.
    this.findings.catch(() => {})
  }

  /** So many bytes from the beginning are there, and do not change any more. */
  reach(position: number): void {
    if (position <= this.#frontier) return
    this.#frontier = Math.min(position, this.#size)
    this.#wake?.()
  }

  /** Nothing was written here: it need not be read. To be told before it is reached. */
  skip(hole: Interval): void {
    if (hole.end - hole.begin < holeBytesMin) return
    try {
      this.#holes.add(hole)
    } catch (error) {
      // To read it instead gives the same bytes.
      if (!isImageError(error, 'resource_exhausted')) throw error
    }
  }

  /** Nobody needs the findings any more. */
  stop(error: unknown): void {
    this.#failure ??= { error }
    this.#wake?.()
  }

  async #find(hasher: Hasher): Promise<Findings> {
    const inspector = new Inspector()
    const hashing = hasher.digest(this.#content(), ['sha512'])
    try {
      for await (const piece of hashing.bytes) inspector.write(piece)
      const { sha512 } = await hashing.digests()
      return { sha512, virtualSize: inspector.end(this.#size) }
    } catch (error) {
      // The hasher may still wait for the next bytes.
      this.stop(error)
      throw error
    }
  }

  /** The file from its beginning, as far as it has come. A chunk is valid until the next is asked for. */
  async *#content(): AsyncGenerator<Uint8Array, void, undefined> {
    const buffer = Buffer.allocUnsafeSlow(readBytes)
    for (let position = 0; position < this.#size;) {
      await this.#until(position + 1)
      const holeEnd = Math.min(this.#holes.endAt(position), this.#frontier)
      const length = Math.min(
        readBytes,
        holeEnd > position ? holeEnd - position : this.#nextHole(position) - position,
      )
      if (holeEnd > position) {
        yield zeros.subarray(0, length)
      } else {
        const chunk = buffer.subarray(0, length)
        await readFully(this.#file, chunk, position)
        yield chunk
      }
      position += length
      this.#holes.forgetUntil(position)
    }
    this.#throwIfStopped()
  }

  #nextHole(position: number): number {
    return Math.min(this.#holes.nextFrom(position), this.#frontier)
  }

  async #until(position: number): Promise<void> {
    this.#throwIfStopped()
    while (this.#frontier < position) {
      await new Promise<void>((resolve) => (this.#wake = resolve))
      this.#throwIfStopped()
    }
  }

  #throwIfStopped(): void {
    if (this.#failure) throw this.#failure.error
  }
}

/** Fills `into`, with zeros from the end of the file on. Resolves to how many bytes the file had. */
export async function readFully(
  file: OpenFile,
  into: Uint8Array,
  position: number,
): Promise<number> {
  for (let done = 0; done < into.length;) {
    const read = await file.read(into.subarray(done), position + done)
    if (read === 0) {
      into.fill(0, done)
      return done
    }
    done += read
  }
  return into.length
}

/** Longhorn takes any bytes: what is no image of ours is raw to it, unless it is dangerous. */
class Inspector {
  readonly #inspector = new FormatInspector()
  #isForeign = false

  write(piece: Uint8Array): void {
    this.#unlessForeign(() => this.#inspector.write(piece))
  }

  end(size: number): number {
    const inspection = this.#unlessForeign(() => this.#inspector.end())
    return inspection?.virtualSize ?? Math.ceil(size / sectorBytes) * sectorBytes
  }

  #unlessForeign<T>(look: () => T): T | undefined {
    if (this.#isForeign) return undefined
    try {
      return look()
    } catch (error) {
      if (!isImageError(error) || error.reason !== 'unsupported_format') throw error
      this.#isForeign = true
      return undefined
    }
  }
}
