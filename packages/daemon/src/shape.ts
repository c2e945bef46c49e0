// What a file of any bytes is to those who use it. Longhorn keeps whatever it is given; only what could
// make a machine read files of its host is refused (core's format.ts).

import { type GuardedDisk, readFlags } from '@backing-image/backend-local'
import { FormatInspector, footerBytes, headBytes, isImageError } from '@backing-image/core'
import { readPart } from './read-part.ts'

/** What a guest sees of a file, and whether QEMU would take it for more than its bytes. */
export interface Shape {
  virtualSize: number
  isQcow2: boolean
}

const sectorBytes = 512

/** Looks at the bytes of a file as they pass, in order. */
export class ShapeInspector {
  readonly #inspector = new FormatInspector()
  #sizeBytes = 0
  #isPlain = false

  /** Throws `unsafe_image` as soon as that is known. */
  write(chunk: Uint8Array): void {
    this.#sizeBytes += chunk.length
    this.#look(() => this.#inspector.write(chunk))
  }

  /** As FormatInspector has it. */
  skip(lengthBytes: number): void {
    this.#sizeBytes += lengthBytes
    this.#inspector.skip(lengthBytes)
  }

  end(): Shape {
    const plain = {
      virtualSize: Math.ceil(this.#sizeBytes / sectorBytes) * sectorBytes,
      isQcow2: false,
    }
    const found = this.#sizeBytes > 0 && this.#look(() => this.#inspector.end())
    if (!found) return plain
    return { virtualSize: found.virtualSize, isQcow2: found.format === 'qcow2' }
  }

  #look<T>(act: () => T): T | undefined {
    if (this.#isPlain) return undefined
    try {
      return act()
    } catch (error) {
      // A format that the gateway would not store is just bytes here.
      if (!isImageError(error) || error.reason !== 'unsupported_format') throw error
      this.#isPlain = true
      return undefined
    }
  }
}

/** The same of a file that is there, without reading all of it. Throws `unsafe_image`. */
export async function shapeOf(disk: GuardedDisk, path: string): Promise<Shape> {
  const file = await disk.open(path, readFlags)
  try {
    const size = Number((await file.stat()).size)
    const inspector = new ShapeInspector()
    const headEnd = Math.min(size, headBytes)
    const tailStart = Math.max(headEnd, size - footerBytes)
    inspector.write(await readPart(file, 0, headEnd))
    inspector.skip(tailStart - headEnd)
    inspector.write(await readPart(file, tailStart, size))
    return inspector.end()
  } finally {
    await file.close()
  }
}
