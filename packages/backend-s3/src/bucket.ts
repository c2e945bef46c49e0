// One bucket and prefix at one endpoint, and the one way to ask it something: with retries that are
// bounded in time, and failures that keep their kind.

import { S3Client, type $Command, type S3ClientResolvedConfig } from '@aws-sdk/client-s3'
import type { ServiceInputTypes, ServiceOutputTypes } from '@aws-sdk/client-s3'
import { ImageError } from '@backing-image/core'
import { setTimeout as pause } from 'node:timers/promises'
import { Breaker } from './breaker.ts'
import { type ConnectionOptions, openConnections, silence } from './connection.ts'
import { type Origin, isTransient, isUnanswered, translate } from './failure.ts'

export interface BucketOptions extends ConnectionOptions {
  accessKey: string
  secretKey: string
  bucket: string
  region: string
  /** Put before every key; empty or ending in "/". */
  prefix?: string
  /** False where the bucket is a part of the host name. */
  forcePathStyle?: boolean
  /** How long one request may take with its retries, unless it says otherwise; 8 s. */
  totalTimeoutMs?: number
}

export interface SendOptions {
  /** What is being done, for messages: `read a/key`. */
  what: string
  /** Ends it at once, with the signal's reason. */
  signal?: AbortSignal | undefined
  /** How long the store may take to answer once; 5 s. The body of a GetObject comes after that. */
  attemptTimeoutMs?: number
  /** How long it may take with its retries. Over the usual bound it outwaits an outage. */
  totalTimeoutMs?: number
  /** 1 sends it once; any number within the time unless given. */
  attemptsMax?: number
}

/** One command of the SDK, whatever it asks. */
export type S3Command<
  Input extends ServiceInputTypes,
  Output extends ServiceOutputTypes,
> = $Command<Input, Output, S3ClientResolvedConfig>

const attemptTimeoutMsUsual = 5_000
/** With the time that a look at the outcome takes, a client has its 503 within 10 s. */
const totalTimeoutMsUsual = 8_000
const firstPauseMs = 50
const pauseMsMax = 1_000
/** Smaller bodies are signed whole: it costs nothing, and the store checks every byte. */
const signedBytesMax = 64 * 1024

export class Bucket {
  readonly name: string
  /** Put before every key; empty or ending in "/". */
  readonly prefix: string
  readonly endpoint: string
  /** For links; requests go through `send`. */
  readonly client: S3Client
  readonly #origin: Origin
  readonly #breaker: Breaker
  readonly #totalTimeoutMs: number
  /** What the Date header of an answer says, in milliseconds since 1970. */
  readonly #dates = new WeakMap<object, number>()

  constructor(options: BucketOptions) {
    const { endpoint, region, accessKey, bucket } = options
    this.name = bucket
    this.endpoint = endpoint
    this.prefix = options.prefix ?? ''
    this.#origin = { endpoint, bucket, region, accessKey }
    this.#totalTimeoutMs = options.totalTimeoutMs ?? totalTimeoutMsUsual
    this.#breaker = new Breaker(this.#totalTimeoutMs / 2)
    this.client = openClient(options)
    this.client.middlewareStack.add(
      (next) => async (args) => {
        const result = await next(args)
        const { headers } = result.response as { headers?: Record<string, string> }
        const dateMs = Date.parse(headers?.['date'] ?? '')
        if (result.output && !Number.isNaN(dateMs)) this.#dates.set(result.output, dateMs)
        return result
      },
      { step: 'deserialize', priority: 'high', name: 'dateOfAnswer' },
    )
  }

  /** The names under which the store knows a key. */
  at(key: string): { Bucket: string; Key: string } {
    return { Bucket: this.name, Key: `${this.prefix}${key}` }
  }

  /** When the store gave that answer, by its own clock, in nanoseconds since 1970. */
  answeredAt(output: object): bigint {
    return BigInt(this.#dates.get(output) ?? Date.now()) * 1_000_000n
  }

  /** How long a request may take with its retries, unless it says otherwise. */
  get totalTimeoutMs(): number {
    return this.#totalTimeoutMs
  }

  /** Ends all connections. */
  close(): void {
    this.client.destroy()
  }

  /**
   * Sends `command`, and again while the store gives no answer or a passing failure, within its time.
   * A command may so be carried out more than once. Rejects with an ImageError, or with the reason of
   * `signal`.
   */
  async send<Input extends ServiceInputTypes, Output extends ServiceOutputTypes>(
    command: S3Command<Input, Output>,
    options: SendOptions,
  ): Promise<Output> {
    options.signal?.throwIfAborted()
    const { totalTimeoutMs = this.#totalTimeoutMs } = options
    // Who has more time than usual outwaits an outage.
    const entry = totalTimeoutMs > this.#totalTimeoutMs ? 'usual' : this.#breaker.admit()
    if (entry === undefined) throw this.#down(options.what)
    try {
      return await this.#sendUntil(performance.now() + totalTimeoutMs, command, options)
    } catch (error) {
      options.signal?.throwIfAborted()
      throw translate(error, options.what, this.#origin)
    } finally {
      if (entry === 'trial') this.#breaker.trialIsOver()
    }
  }

  /** Rejects with the last error as it came; with the last answer where only the time ran out. */
  async #sendUntil<Input extends ServiceInputTypes, Output extends ServiceOutputTypes>(
    endsAtMs: number,
    command: S3Command<Input, Output>,
    options: SendOptions,
  ): Promise<Output> {
    const { attemptsMax = Infinity, signal } = options
    let lastAnswer: unknown
    for (let attempt = 1; ; attempt += 1) {
      try {
        const output = await this.#attempt(command, endsAtMs, options)
        this.#breaker.answered()
        return output
      } catch (error) {
        if (signal?.aborted) throw error
        const isAnswered = !isUnanswered(error)
        if (isAnswered) this.#breaker.answered()
        else if (isTransient(error)) this.#breaker.failed()
        if (isAnswered) lastAnswer = error
        if (!isTransient(error)) throw error
        const pauseMs = pauseBefore(attempt)
        const isLast = attempt >= attemptsMax || performance.now() + pauseMs > endsAtMs
        if (isLast) throw lastAnswer ?? error
        await pause(pauseMs, undefined, signal ? { signal } : {})
      }
    }
  }

  /** An error of a body that is being read, as `send` would tell it. */
  explained(error: unknown, what: string): ImageError {
    return translate(error, what, this.#origin)
  }

  async #attempt<Input extends ServiceInputTypes, Output extends ServiceOutputTypes>(
    command: S3Command<Input, Output>,
    endsAtMs: number,
    options: SendOptions,
  ): Promise<Output> {
    const { signal, attemptTimeoutMs = attemptTimeoutMsUsual } = options
    const stop = new AbortController()
    const leave = (): void => stop.abort()
    const timer = setTimeout(leave, Math.min(attemptTimeoutMs, endsAtMs - performance.now()))
    signal?.addEventListener('abort', leave, { once: true })
    if (signal?.aborted) leave()
    try {
      return await this.client.send(command, { abortSignal: stop.signal })
    } finally {
      clearTimeout(timer)
      signal?.removeEventListener('abort', leave)
    }
  }

  #down(what: string): ImageError {
    return new ImageError(
      'unavailable',
      `Could not ${what}: the S3 endpoint ${this.endpoint} has not answered for some seconds, and ` +
        'is being tried; try again.',
      { reason: 'storage_unavailable' },
    )
  }
}

/** Between half of it and all of it, so that those who failed together do not come back together. */
export function pauseBefore(attempt: number): number {
  const longestMs = Math.min(pauseMsMax, firstPauseMs * 2 ** attempt)
  return longestMs * (0.5 + Math.random() / 2)
}

function openClient(options: BucketOptions): S3Client {
  // The SDK would print a notice about versions of Node on stderr, which is not for our users.
  process.env['AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED'] ??= 'true'
  const client = new S3Client({
    endpoint: options.endpoint,
    region: options.region,
    credentials: { accessKeyId: options.accessKey, secretAccessKey: options.secretKey },
    forcePathStyle: options.forcePathStyle ?? true,
    requestHandler: openConnections(options),
    logger: silence,
    // Older servers do not know the SDK's own checksums, and refuse or store their framing.
    requestChecksumCalculation: 'WHEN_REQUIRED',
    responseChecksumValidation: 'WHEN_REQUIRED',
    expectContinueHeader: false,
    // Retries are ours: the SDK's have no bound in time.
    maxAttempts: 1,
    retryMode: 'standard',
    // What AWS's own files and variables on this machine say is not for this store.
    defaultsMode: 'standard',
    useFipsEndpoint: false,
    useDualstackEndpoint: false,
    useArnRegion: false,
    disableS3ExpressSessionAuth: true,
    authSchemePreference: ['aws.auth#sigv4'],
    userAgentAppId: 'backing-image-manager',
  })
  // Bytes of images are hashed where they come from; a second hash here would stop the event loop.
  client.middlewareStack.add(
    (next) => async (args) => {
      const { request } = args as { request?: { body?: unknown; headers?: Record<string, string> } }
      if (
        request?.headers &&
        Buffer.isBuffer(request.body) &&
        request.body.length > signedBytesMax
      ) {
        request.headers['x-amz-content-sha256'] = 'UNSIGNED-PAYLOAD'
      }
      return await next(args)
    },
    { step: 'build', name: 'unsignedBody' },
  )
  return client
}
