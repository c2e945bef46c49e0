// A part of an open file in memory.

import type { OpenFile } from '@backing-image/backend-local'

/** The bytes from `start` to before `end`; fewer where the file ends earlier. */
export async function readPart(file: OpenFile, start: number, end: number): Promise<Buffer> {
  const part = Buffer.allocUnsafe(end - start)
  let filled = 0
  while (filled < part.length) {
    const got = await file.read(part.subarray(filled), start + filled)
    if (got === 0) break
    filled += got
  }
  return part.subarray(0, filled)
}
