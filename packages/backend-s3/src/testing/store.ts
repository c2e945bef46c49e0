// A whole backend on the fake server, for one test.

import { isImageError } from '@backing-image/core'
import { type S3Options, S3Backend } from '../index.ts'
import { FakeS3, type FakeS3Options } from './fake.ts'

/** Of every backend on the fake: a bucket may hold others' objects beside. */
export const prefix = 'store/'

export interface StoreOptions {
  server?: FakeS3Options
  backend?: Partial<S3Options>
}

export interface Store {
  server: FakeS3
  backend: S3Backend
  /** Another process's view. */
  open(options?: Partial<S3Options>): Promise<S3Backend>
}

/** The settings with which a backend reaches the server. */
export function settingsFor(server: FakeS3): S3Options {
  const { endpoint, region, bucket, accessKeyId, secretAccessKey } = server
  return { endpoint, region, bucket, prefix, accessKey: accessKeyId, secretKey: secretAccessKey }
}

export function withStore(
  test: (store: Store) => Promise<void>,
  options: StoreOptions = {},
): () => Promise<void> {
  return async (): Promise<void> => {
    const server = await FakeS3.start(options.server)
    const backends: S3Backend[] = []
    const open = async (more: Partial<S3Options> = {}): Promise<S3Backend> => {
      const backend = await S3Backend.open({ ...settingsFor(server), ...options.backend, ...more })
      backends.push(backend)
      return backend
    }
    try {
      await test({ server, backend: await open(), open })
    } finally {
      server.calm()
      await Promise.all(backends.map((backend) => backend.close()))
      await server.stop()
    }
  }
}

/** Everything on the server that is no object of a key: uploads, temporaries, open requests. */
export function leftovers({ medium, seen }: FakeS3): string[] {
  const temporary = [...medium.objects.keys()].filter((key) => key.startsWith(`${prefix}.tmp/`))
  const uploads = [...medium.uploads.values()].map(({ key }) => `upload of ${key}`)
  const open = seen
    .filter(({ end }) => end === undefined)
    .map(({ operation, key }) => `open: ${operation} ${key}`)
  return [...temporary, ...uploads, ...open]
}

/** Throws away what the sweeper would. */
export async function sweep(backend: S3Backend): Promise<void> {
  for await (const { id } of backend.unfinished()) await backend.discard(id)
}

/** Resolves to what `work` rejects with; to undefined when it succeeds. */
export async function outcome(work: Promise<unknown>): Promise<unknown> {
  try {
    await work
    return undefined
  } catch (error) {
    return error
  }
}

/** For messages: the code of an ImageError, or the whole of another. */
export function told(error: unknown): string {
  return isImageError(error) ? `${error.code}: ${error.message}` : String(error)
}
