// What the tests of durability share: a store on a folder that may have a bad disk, what is ready in
// it, and what is left in it that nobody names.

import { LocalBackend } from '@backing-image/backend-local'
import type { Disk } from '@backing-image/backend-local'
import {
  type Bytes,
  type Description,
  type Failpoint,
  type Image,
  ImageStore,
  parseBytesKey,
  readAll,
} from '@backing-image/core'

const mebibyte = 1024 * 1024

export const description: Description = {
  sourceType: 'upload',
  parameters: {},
  labels: {},
  dataEngine: 'v1',
  minNumberOfCopies: 0,
  nodeSelector: [],
  diskSelector: [],
  expected: [],
}

/** A process's part of one store: what it was opened on, and both at once to close. */
export interface OpenStore {
  backend: LocalBackend
  store: ImageStore
  close(): Promise<void>
}

/** A process that opens the store; `at` may stop it at a step. */
export async function openStore(root: string, disk: Disk, at?: Failpoint): Promise<OpenStore> {
  const backend = await LocalBackend.open({ root, disk, lowWaterBytes: 0 })
  const store = await ImageStore.open(backend, at && { at })
  const close = async (): Promise<void> => {
    await store.close()
    await backend.close()
  }
  return { backend, store, close }
}

export interface UploadOptions {
  version?: string
  expected?: string[]
  /** Announced, so that room is reserved for it. */
  size?: number
}

export async function upload(
  store: ImageStore,
  name: string,
  body: Buffer,
  { expected = [], ...told }: UploadOptions = {},
): Promise<Image> {
  const { image } = await store.ingest(
    {
      name,
      description: { ...description, expected },
      sizeMax: 64 * mebibyte,
      ...told,
    },
    () => chunks(body),
  )
  return image
}

async function* chunks(body: Buffer): Bytes {
  for (let at = 0; at < body.length; at += 300_000) yield body.subarray(at, at + 300_000)
}

/** What is ready of a name, by version; every byte is read. */
export async function readyBodies(store: ImageStore, name: string): Promise<Map<string, Buffer>> {
  const bodies = new Map<string, Buffer>()
  for (const { state, version } of await store.versions(name)) {
    if (state !== 'ready') continue
    const opened = await store.open(name, { version })
    bodies.set(version, await readAll(await opened.read(), 16 * mebibyte))
  }
  return bodies
}

/** Bytes that no version names, work that goes on, and unfinished files: each as a sentence. */
export async function leftovers({ backend, store }: OpenStore): Promise<string[]> {
  const found: string[] = []
  const named = new Set<string>()
  for (const { name } of await store.list()) {
    for (const { state, uuid } of await store.versions(name)) {
      if (state === 'ready') named.add(`${name}-${uuid}`)
    }
  }
  for await (const { key } of backend.list('')) {
    const [folder = ''] = key.split('/')
    const isBytes = parseBytesKey(`${folder}/backing`) !== undefined
    if (isBytes && !named.has(folder)) found.push(`${key} is nobody's`)
  }
  for (const { name, uuid, state } of await store.inFlight()) {
    found.push(`the work on ${name}-${uuid} is ${state}`)
  }
  for await (const { id } of backend.unfinished()) found.push(`.tmp/${id} is unfinished`)
  return found
}
