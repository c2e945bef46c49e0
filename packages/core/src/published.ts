// All that is published and sound, for who makes it known elsewhere.

import type { Catalog } from './catalog.ts'
import { type Image, listedImage } from './image.ts'
import type { Corruptions } from './sound.ts'

/** A version that is published, and its place among those of its name: the newest has the highest. */
export interface Published {
  image: Image
  /** 1 for the first version that the name ever had. */
  sequence: number
}

/** From memory: as it was at the last look at both. */
export function publishedOf(catalog: Catalog, corruptions: Corruptions): Published[] {
  const found: Published[] = []
  for (const record of catalog.records()) {
    if (corruptions.concerns(record) || catalog.isLost(record)) continue
    found.push({ image: listedImage(record), sequence: record.sequence })
  }
  return found
}
