// Backups in a bucket: `s3://bucket@region/path/`, with credentials and endpoint by the names that
// Longhorn's secrets of backup targets have.

import { posix } from 'node:path'
import { DeleteObjectCommand, GetObjectCommand, HeadObjectCommand } from '@aws-sdk/client-s3'
import { ListObjectsV2Command, PutObjectCommand, S3Client } from '@aws-sdk/client-s3'
import { type Bytes, type Code, ImageError, isImageError, readAll } from '@backing-image/core'
import { openConnections } from './s3-connection.ts'
import { type Credential, type Found, type Target, lateError } from './target.ts'

const usualRegion = 'us-east-1'
const attemptsMax = 5
/** For one call with all its attempts; less than whoever waits for it bears. */
const callTimeoutMs = 80_000
/** Of a list: it is for a folder of locks. */
const pagesMax = 100

const codes: Record<number, Code> = {
  401: 'permission_denied',
  403: 'permission_denied',
  404: 'not_found',
  408: 'unavailable',
  429: 'unavailable',
  501: 'unimplemented',
  507: 'resource_exhausted',
}

/** What no repetition changes is not `unavailable`. */
function codeOf(status: number | undefined): Code {
  if (status === undefined) return 'unavailable'
  return codes[status] ?? (status < 500 ? 'failed_precondition' : 'unavailable')
}

export function openS3(url: URL, credential: Credential): Promise<Target> {
  return Promise.resolve(new S3Target(url, credential))
}

class S3Target implements Target {
  readonly #client: S3Client
  readonly #bucket: string
  readonly #folder: string

  constructor(url: URL, credential: Credential) {
    const { username, hostname, pathname } = url
    this.#bucket = decodeURIComponent(username || hostname)
    // A slash in front would be a part of every key.
    this.#folder = decodeURIComponent(pathname).replace(/^\/+/, '')
    if (this.#bucket === '' || pathname === '') {
      const text = 'invalid URL. Must be either s3://bucket@region/path/, or s3://bucket/path'
      throw new ImageError('invalid_argument', text)
    }
    this.#client = openClient(username ? hostname || usualRegion : usualRegion, credential)
  }

  async read(path: string, bytesMax: number): Promise<Uint8Array<ArrayBuffer>> {
    const at = this.#at(path)
    return await attempt(`get ${at.Key}`, async (abortSignal) => {
      const { Body } = await this.#client.send(new GetObjectCommand(at), { abortSignal })
      return new Uint8Array(await readAll(Body as unknown as Bytes, bytesMax))
    })
  }

  async write(path: string, bytes: Uint8Array): Promise<void> {
    const at = this.#at(path)
    await attempt(`put ${at.Key}`, async (abortSignal) => {
      const command = new PutObjectCommand({ ...at, Body: bytes, ContentLength: bytes.length })
      await this.#client.send(command, { abortSignal })
    })
  }

  async stat(path: string): Promise<Found | undefined> {
    const at = this.#at(path)
    try {
      return await attempt(`look at ${at.Key}`, async (abortSignal) => {
        const head = await this.#client.send(new HeadObjectCommand(at), { abortSignal })
        const modifiedAtMs = head.LastModified?.getTime() ?? 0
        return { sizeBytes: head.ContentLength ?? 0, modifiedAtMs }
      })
    } catch (error) {
      if (isImageError(error, 'not_found')) return undefined
      throw error
    }
  }

  async list(folder: string): Promise<string[]> {
    const { Bucket, Key } = this.#at(folder)
    const Prefix = `${Key}/`
    const names: string[] = []
    let ContinuationToken: string | undefined
    for (let page = 0; page < pagesMax; page += 1) {
      const command = new ListObjectsV2Command({ Bucket, Prefix, ContinuationToken })
      const found = await attempt(`list ${Prefix} in the bucket ${Bucket}`, (abortSignal) =>
        this.#client.send(command, { abortSignal }),
      )
      for (const object of found.Contents ?? []) names.push((object.Key ?? '').slice(Prefix.length))
      ContinuationToken = found.NextContinuationToken
      if (!found.IsTruncated || ContinuationToken === undefined) break
    }
    return names.filter((name) => name !== '' && !name.includes('/'))
  }

  async remove(path: string): Promise<void> {
    const at = this.#at(path)
    await attempt(`delete ${at.Key}`, async (abortSignal) => {
      await this.#client.send(new DeleteObjectCommand(at), { abortSignal })
    })
  }

  close(): Promise<void> {
    this.#client.destroy()
    return Promise.resolve()
  }

  #at(path: string): { Bucket: string; Key: string } {
    return { Bucket: this.#bucket, Key: posix.join(this.#folder, path).replace(/^\/+/, '') }
  }
}

function openClient(region: string, credential: Credential): S3Client {
  const { AWS_ACCESS_KEY_ID: accessKeyId = '', AWS_SECRET_ACCESS_KEY: secretAccessKey = '' } =
    credential
  if (!accessKeyId && secretAccessKey) throw missing('access key')
  if (accessKeyId && !secretAccessKey) throw missing('secret access key')
  const endpoint = endpointOf(credential)
  const style = credential['VIRTUAL_HOSTED_STYLE']
  // The SDK would print a notice about versions of Node on stderr, which is not for our users.
  process.env['AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED'] ??= 'true'
  return new S3Client({
    region,
    ...(endpoint && { endpoint }),
    // Without keys it is the machine's own role that counts.
    ...(accessKeyId && { credentials: { accessKeyId, secretAccessKey } }),
    forcePathStyle: style === 'true' ? false : style === 'false' || endpoint !== undefined,
    requestHandler: openConnections({
      endpoint: endpoint ?? `https://s3.${region}.amazonaws.com`,
      extraCa: credential['AWS_CERT'],
      httpProxy: proxyOf(credential, 'HTTP_PROXY'),
      httpsProxy: proxyOf(credential, 'HTTPS_PROXY'),
      noProxy: credential['NO_PROXY'],
    }),
    // Older servers do not know the SDK's own checksums, and refuse or store their framing.
    requestChecksumCalculation: 'WHEN_REQUIRED',
    responseChecksumValidation: 'WHEN_REQUIRED',
    expectContinueHeader: false,
    maxAttempts: attemptsMax,
    retryMode: 'standard',
  })
}

/** Undefined without one. What is none is not shown: there may be a password in it. */
function proxyOf(credential: Credential, name: string): string | undefined {
  const proxy = credential[name] || undefined
  if (proxy === undefined || URL.canParse(proxy)) return proxy
  throw new ImageError('invalid_argument', `${name} is no URL such as http://proxy:3128.`)
}

function missing(what: string): ImageError {
  return new ImageError('invalid_argument', `s3 credential ${what} not found`)
}

function endpointOf({ AWS_ENDPOINTS: endpoint = '' }: Credential): string | undefined {
  if (endpoint === '') return undefined
  if (/^https?:\/\//i.test(endpoint) && URL.canParse(endpoint)) return endpoint
  const text = 'AWS_ENDPOINTS is no URL that begins with http:// or https://.'
  throw new ImageError('invalid_argument', text)
}

/** Gives what goes wrong its kind, by the status or the system's own word. */
async function attempt<T>(what: string, work: (signal: AbortSignal) => Promise<T>): Promise<T> {
  const signal = AbortSignal.timeout(callTimeoutMs)
  try {
    return await work(signal)
  } catch (error) {
    if (error instanceof ImageError || !(error instanceof Error)) throw error
    const parts = error as { $metadata?: { httpStatusCode?: number }; code?: unknown }
    const status = parts.$metadata?.httpStatusCode
    if (signal.aborted || error.name === 'TimeoutError') throw lateError(what, callTimeoutMs, error)
    const word = typeof parts.code === 'string' ? parts.code : error.name
    throw new ImageError(codeOf(status), `failed to ${what}: AWS Error: ${word} ${error.message}`, {
      cause: error,
      reason: 'storage_unavailable',
    })
  }
}
