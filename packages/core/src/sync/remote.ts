// Another manager, as one that pulls from it sees it: what it says of an image, its block index, and
// parts of its bytes. What breaks off is asked for again, and who is told to wait waits.

import { setTimeout as delay } from 'node:timers/promises'
import { type Bytes, type Range, readAll } from '../backend.ts'
import { BlockIndex, blockCount, blockEntryBytes } from '../blocks.ts'
import { isImageError } from '../errors.ts'
import type { Answer } from '../source/answer.ts'
import type { Credential } from '../source/credential.ts'
import { SourceChanged, SourceError } from '../source/failure.ts'
import type { Fetcher } from '../source/fetcher.ts'
import { contentRangeOf } from '../source/identity.ts'
import { redactUrl } from '../source/redact.ts'
import type { Block } from './assemble.ts'
import { type RemoteImage, parseRemoteImage } from './remote-image.ts'

export interface RemoteOptions {
  fetcher: Fetcher
  /** Under which the other manager has its API. */
  base: URL
  credential?: Credential
  /** Tells one pull from another, so that the other side can count them. */
  id: string
  /** Told of what is tried again. */
  onTrouble: (error: Error) => void
  /** How long to wait after the first, second, … failure in a row; after the last it is given up. */
  retryDelaysMs?: readonly number[]
}

interface Asking<T> {
  path: string
  signal: AbortSignal
  headers?: () => Record<string, string>
  /** Answers beside 2xx that are not failures. */
  expected?: readonly number[]
  /** Reads the answer; what it throws is a failure like any other. */
  take: (answer: Answer) => Promise<T>
  /** How many bytes have come so far: a failure after new ones is the first in its row. */
  progress?: () => number
  /** What an answer that is a failure for good means here. */
  refusal?: (status: number) => Error | undefined
}

const usualDelaysMs = [500, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000]
/** Who is told to wait without being told for how long. */
const busyDelayMs = 5_000
const busyDelayMinMs = 1_000
/** A manifest may have 1 MiB of parameters, which grow as JSON. */
const imageBytesMax = 4 * 1024 * 1024

export class Remote {
  readonly #options: RemoteOptions
  readonly #base: URL
  /** Of what is tried again: requests that fail together are told of once. */
  #toldFailures = 0
  #isToldToWait = false

  constructor(options: RemoteOptions) {
    this.#options = options
    const { base } = options
    this.#base = base.pathname.endsWith('/') ? base : new URL(`${base.pathname}/`, base)
  }

  /** The version that is meant, or the newest, ready to be fetched. */
  async image(
    name: string,
    version: string | undefined,
    signal: AbortSignal,
  ): Promise<RemoteImage> {
    const which = version === undefined ? '' : `&version=${version}`
    return await this.#ask({
      path: `v1/backing-images/${name}?state=ready${which}`,
      signal,
      take: async ({ body }) => {
        const text = await readWithin(body, imageBytesMax)
        const image = text && parseRemoteImage(text.toString())
        const isAsked = image?.name === name && (version ?? image.version) === image.version
        if (image && isAsked) return image
        throw this.#failure(
          `what it says of ${name} is not understood. Look whether from is the base URL of a ` +
            'backing image manager.',
        )
      },
      refusal: (status) =>
        status === 404
          ? this.#failure(
              `it has no ${name}${version === undefined ? '' : ` ${version}`} that is ready. Look ` +
                'whether from, name and version are right.',
              status,
            )
          : undefined,
    })
  }

  /** The block index of an image; undefined where that manager has none that is of use. */
  async blocks(image: RemoteImage, signal: AbortSignal): Promise<BlockIndex | undefined> {
    const { name, version, size } = image
    return await this.#ask({
      path: `v1/backing-images/${name}/blocks?version=${version}`,
      signal,
      headers: () => ({ accept: 'application/octet-stream' }),
      // It has none, or one that is spoilt: the image can be had without.
      expected: [404, 500],
      take: async ({ status, body }) => {
        if (status === 404) return undefined
        if (status < 300) {
          const content = await readWithin(body, blockCount(size) * blockEntryBytes)
          const index = content && parseIndex(content, size)
          if (index) return index
        }
        this.#options.onTrouble(this.#failure(`its block index of ${name} ${version} is none.`))
        return undefined
      },
    })
  }

  /** A part of the bytes of that very image; SourceChanged once it is another one, or gone. */
  async bytes(image: RemoteImage, { start, end }: Range, signal: AbortSignal): Promise<Block> {
    const { name, version, etag } = image
    const block = new Uint8Array(end - start + 1)
    let filled = 0
    await this.#ask({
      path: `v1/backing-images/${name}/download?version=${version}`,
      signal,
      // The condition also keeps that manager from redirecting to its bucket.
      headers: () => ({ range: `bytes=${start + filled}-${end}`, 'if-match': etag }),
      progress: () => filled,
      take: async (answer) => {
        this.#assertPart(answer, image, { start: start + filled, end })
        for await (const chunk of answer.body) {
          if (filled + chunk.length > block.length) throw this.#failure('it sent too many bytes.')
          block.set(chunk, filled)
          filled += chunk.length
        }
        if (filled < block.length) throw this.#failure('a range came short.', undefined, true)
      },
      refusal: (status) =>
        status === 404 || status === 412
          ? this.#changed(image, `it answered ${status}`)
          : undefined,
    })
    return block
  }

  #assertPart(answer: Answer, image: RemoteImage, { start, end }: Range): void {
    const { etag, 'content-encoding': encoding = 'identity' } = answer.headers
    if (etag !== image.etag) throw this.#changed(image, 'its ETag is another one')
    const range = contentRangeOf(answer)
    const isRight =
      answer.status === 206 &&
      range?.start === start &&
      range.end === end &&
      range.total === image.size &&
      encoding.trim().toLowerCase() === 'identity'
    if (isRight) return
    const found = JSON.stringify(answer.headers['content-range'] ?? '').slice(0, 100)
    throw this.#failure(
      `asked for bytes ${start} to ${end} of ${image.size} it answered ${answer.status} with ` +
        `${found}. Look whether a proxy on the way takes Range away, or packs what passes.`,
    )
  }

  /** Asks until there is an answer, or no hope of one. */
  async #ask<T>(asking: Asking<T>): Promise<T> {
    const { fetcher, credential, id } = this.#options
    const { signal, take, expected } = asking
    let failures = 0
    for (;;) {
      const before = asking.progress?.() ?? 0
      try {
        const answer = await fetcher.get(new URL(asking.path, this.#base), {
          headers: { ...asking.headers?.(), 'x-sync-id': id },
          isDirect: true,
          signal,
          ...(credential && { credential }),
          ...(expected && { expected }),
        })
        this.#isToldToWait = false
        try {
          const taken = await take(answer)
          this.#toldFailures = 0
          return taken
        } finally {
          answer.cancel()
        }
      } catch (error) {
        signal.throwIfAborted()
        if ((asking.progress?.() ?? 0) > before) failures = 0
        const isBusy = error instanceof SourceError && error.status === 429
        if (!isBusy) failures += 1
        await this.#wait(error, { asking, failures, isBusy })
      }
    }
  }

  /** Waits before the next try; throws when there must be none. */
  async #wait(
    error: unknown,
    { asking, failures, isBusy }: { asking: Asking<unknown>; failures: number; isBusy: boolean },
  ): Promise<void> {
    const { onTrouble, retryDelaysMs = usualDelaysMs } = this.#options
    if (!(error instanceof SourceError)) throw error
    if (!error.isTransient) throw this.#refusal(error, asking)
    const { retryAfterMs } = error
    if (isBusy) {
      if (!this.#isToldToWait)
        onTrouble(this.#failure('it asks to wait for a turn (429).', 429, true))
      this.#isToldToWait = true
      await pause(Math.max(retryAfterMs ?? busyDelayMs, busyDelayMinMs), asking.signal)
      return
    }
    if (failures > retryDelaysMs.length) throw this.#gaveUp(error, failures)
    if (failures > this.#toldFailures) onTrouble(error)
    this.#toldFailures = failures
    await pause(Math.max(retryDelaysMs[failures - 1] ?? 0, retryAfterMs ?? 0), asking.signal)
  }

  #refusal(error: SourceError, { refusal }: Asking<unknown>): Error {
    const { status } = error
    const known = status === undefined ? undefined : refusal?.(status)
    if (known) return known
    if (status !== 401 && status !== 403) return error
    const { credential } = this.#options
    return this.#failure(
      credential
        ? `it answered ${status} to the secret that credential names: a token that may read is needed.`
        : `it answered ${status}: parameters.credential {"secretRef": "NAME"} names the secret that ` +
            'holds its token.',
      status,
    )
  }

  #failure(what: string, status?: number, isTransient: boolean = false): SourceError {
    const text = `Could not sync from ${redactUrl(this.#base.href)}: ${what}`
    return new SourceError(text, { isTransient, ...(status !== undefined && { status }) })
  }

  #changed({ name, version }: RemoteImage, why: string): SourceChanged {
    const from = redactUrl(this.#base.href)
    return new SourceChanged(
      `${name} ${version} was deleted or replaced at ${from} while it was being fetched: ${why}.`,
      { hasChanged: true },
    )
  }

  #gaveUp(last: SourceError, failures: number): SourceError {
    const text = `${redactUrl(this.#base.href)} was given up: ${failures} times in a row not a byte came.`
    return new SourceError(`${text} The last time: ${last.message}`, {
      isTransient: false,
      cause: last,
      ...(last.status !== undefined && { status: last.status }),
    })
  }
}

/** Undefined where there is more than that. */
async function readWithin(bytes: Bytes, bytesMax: number): Promise<Buffer | undefined> {
  return await readAll(bytes, bytesMax).catch(unlessBad)
}

function parseIndex(content: Uint8Array, size: number): BlockIndex | undefined {
  try {
    return BlockIndex.parse(content, size)
  } catch (error) {
    return unlessBad(error)
  }
}

/** Undefined for what is not what it should be; every other failure stays one. */
function unlessBad(error: unknown): undefined {
  if (!isImageError(error, 'data_loss')) throw error
}

async function pause(ms: number, signal: AbortSignal): Promise<void> {
  await delay(ms, undefined, { signal }).catch((error: unknown) => {
    throw signal.aborted ? signal.reason : error
  })
}
