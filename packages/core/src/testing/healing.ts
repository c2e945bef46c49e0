// What the tests of healing are written in: images that came from a source, a twin of one, and what the
// store holds of them.

import { type Corruption, readCorruption } from '../corrupt.ts'
import { ImageError } from '../errors.ts'
import type { Image } from '../image.ts'
import { bytesKey, parseBytesKey, recordKey } from '../layout.ts'
import type { Source } from '../pull/source.ts'
import type { StoreOptions } from '../store-options.ts'
import { outcome } from './pulling.ts'
import { type Instance, type Town, description, disk, request, streamOf } from './rig.ts'
import { fast } from './scrubbing.ts'

/** What all images of these tests have. */
export const body: Buffer = disk(1)

/** Where images come from in these tests: what it has now, and how often it was asked. */
export class Shelf implements Source {
  content: Buffer | undefined = body
  asked = 0

  async check(): Promise<void> {}

  shown(parameters: Record<string, string>): Record<string, string> {
    return parameters
  }

  async open(): Promise<Awaited<ReturnType<Source['open']>>> {
    this.asked += 1
    const { content } = this
    if (!content) throw new ImageError('not_found', 'There is no such file.')
    return { size: content.length, offset: 0, expected: [], bytes: streamOf(content) }
  }
}

export function options(download: Source): StoreOptions {
  return { scrub: fast, pulls: { sources: { download }, atOnce: 1, sizeMax: 2 ** 30 } }
}

/** An image that came from its source. */
export async function pulled(
  { store }: Pick<Instance, 'store'>,
  name: string,
  url = 'http://there/a',
): Promise<Image> {
  const asked = {
    ...request(name),
    description: description({ sourceType: 'download', parameters: { url } }),
  }
  const { image } = await store.pull(asked)
  return await outcome(store, image)
}

/** The same content under another name, with bytes of its own, as two servers may publish it at once. */
export function plantTwin(town: Town, image: Image): string {
  const uuid = '0badcafe'
  const key = bytesKey('twin', uuid)
  for (const part of ['backing', 'backing.cfg', 'blocks']) {
    const from = town.medium.objects.get(`${image.name}-${image.uuid}/${part}`)
    town.medium.write(`twin-${uuid}/${part}`, Uint8Array.from(from?.body ?? []))
  }
  const record = JSON.parse(town.text(recordKey(image.name, image.version))) as object
  const other = { ...record, name: 'twin', version: '1', uuid, keys: [key] }
  town.plant(recordKey('twin', '1'), JSON.stringify(other))
  return key
}

/** What is marked of the bytes that came with an image. */
export async function corruptionOf(town: Instance, image: Image): Promise<Corruption | undefined> {
  return await readCorruption(town.backend, image)
}

/** Everything in the store but scrubs and marks of removers. */
export function contents(town: Town): string[] {
  return town
    .keys()
    .filter((key) => !key.startsWith('.jobs/SCRUB/') && !/^\.marks\/.*\/(?!corrupt)/.test(key))
}

/** The folder of the bytes that serve in the place of corrupt ones. */
export function healedFolder(healedBy: string | undefined): string[] {
  const { name, uuid } = parseBytesKey(healedBy ?? '') ?? { name: '', uuid: '' }
  return ['backing', 'backing.cfg', 'blocks'].map((part) => `${name}-${uuid}/${part}`)
}
