// What is asked for when an image is to come in, and what became of it.

import type { Image } from './image.ts'
import type { Description } from './record.ts'

export interface IngestRequest {
  name: string
  /** Given by the client; else one more than the highest that counts. */
  version?: string
  description: Description
  /** How many bytes will come, when known. */
  size?: number
  /** The most bytes that are taken. */
  sizeMax: number
  /** Only when the name has no image yet. */
  mustBeNew?: boolean
  /** What comes compressed is unpacked on the way; absent: it is refused. */
  decompress?: 'auto'
}

export interface Ingested {
  image: Image
  /** False when the same bytes had been published under that version before. */
  created: boolean
}
