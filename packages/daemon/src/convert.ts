// Images that are wanted in another format than they came in: raw for Longhorn's second engine, qcow2 for an
// export that was asked for so (contract §3.7).

import { type FileHandle, open } from 'node:fs/promises'
import { readObject } from '@backing-image/backend-local'
import { convertImage } from '@backing-image/longhorn'
import { type Arrival, type Place, assertWanted, beginFile, sha512Of } from './arrival.ts'
import type { Launch } from './image-files.ts'
import type { ManagedFile } from './managed-file.ts'
import { qcow2Scratch, rawScratch, temporaryPath } from './paths.ts'
import { shapeOf } from './shape.ts'

export type Conversion = 'to raw' | 'to qcow2'

/** What qcow2 needs beside the data: 8 bytes for each 64 KiB, and the same again. */
const overheadShare = 1 / 1024
const overheadBytes = 16 * 1024 * 1024
const blockBytes = 4096
/** Longhorn takes no file over that does not consist of these (contract §3.5). */
const sectorBytes = 512
/** A disk of Longhorn's second engine wants plain bytes (contract §2.6). */
const plainEngine = 'v2'

/** What has to become of every image of that launch. */
export function conversionOf({ dataEngine }: Launch): Conversion | undefined {
  return dataEngine === plainEngine ? 'to raw' : undefined
}

/** The same image in the wanted format: as it came where it is so or any will do. Else what came is gone. */
export async function converted(
  place: Place,
  file: ManagedFile,
  arrival: Arrival,
  conversion: Conversion | undefined,
): Promise<Arrival> {
  if (!conversion || arrival.shape.isQcow2 === (conversion === 'to qcow2')) return arrival
  const from = temporaryPath(file.path)
  const to = conversion === 'to raw' ? rawScratch(from) : qcow2Scratch(from)
  try {
    assertWanted(arrival, { size: file.size, expectedChecksum: '' })
    await arrival.temporary.seal()
    const temporary = await beginFile(place, to)
    try {
      const { virtualSize } = arrival.shape
      await convert({ from, to, virtualSize, conversion, signal: file.signal })
      const { size } = await place.disk.lstat(to)
      temporary.reach(Math.ceil(Number(size) / sectorBytes) * sectorBytes)
      const stats = await temporary.seal()
      const { signal } = file
      const bytes = await readObject(place.disk, to, to, { lend: true, signal })
      const sha512 = await sha512Of(place.hasher, bytes, signal)
      const made = Number(stats.size)
      // What was announced is the size of what came.
      file.announce(made)
      return { temporary, size: made, sha512, shape: await shapeOf(place.disk, to) }
    } catch (error) {
      await temporary.discard()
      throw error
    }
  } finally {
    await arrival.temporary.discard()
  }
}

interface Order {
  from: string
  to: string
  virtualSize: number
  conversion: Conversion
  signal: AbortSignal
}

async function convert({ from, to, virtualSize, conversion, signal }: Order): Promise<void> {
  const handles: FileHandle[] = []
  try {
    const source = await open(from, 'r')
    handles.push(source)
    const target = await open(to, 'r+')
    handles.push(target)
    const isToRaw = conversion === 'to raw'
    const bytesMax = isToRaw
      ? Math.ceil(virtualSize / blockBytes) * blockBytes
      : virtualSize * (1 + overheadShare) + overheadBytes
    await convertImage({
      from: { file: source, format: isToRaw ? 'qcow2' : 'raw' },
      to: { file: target, format: isToRaw ? 'raw' : 'qcow2', bytesMax },
      size: virtualSize,
      what: 'the image',
      remedy: 'Look at the image, and at the memory and the room of this disk.',
      signal,
      qemuImg: 'qemu-img',
    })
  } finally {
    for (const handle of handles) await handle.close()
  }
}
