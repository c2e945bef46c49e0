// How the tests of this room read from the web server that misbehaves.

import * as assert from 'uvu/assert'
import type { PageOptions, WebFault } from '../../testing/web.ts'
import { AddressRules } from '../address-rules.ts'
import { type DownloadOptions, type Retry, openDownload } from '../download.ts'
import { SourceError } from '../failure.ts'
import { Fetcher, type FetcherOptions } from '../fetcher.ts'

/** May read from this machine. */
export function localFetcher(options: Partial<FetcherOptions> = {}): Fetcher {
  const rules = new AddressRules({ allow: ['127.0.0.0/8', '::1'] })
  return new Fetcher({ rules, idleTimeoutMs: 30_000, ...options })
}

export interface Read {
  /** What came, also when it ended in an error. */
  bytes: Buffer
  retries: Retry[]
  error: unknown
}

/** Reads all that a URL gives, with short waits. */
export async function readUrl(
  fetcher: Fetcher,
  url: URL,
  options: Partial<DownloadOptions> = {},
): Promise<Read> {
  const chunks: Uint8Array[] = []
  const retries: Retry[] = []
  let error: unknown
  try {
    const download = await openDownload(fetcher, {
      url,
      retryDelaysMs: [1, 1, 1],
      onRetry: (retry) => retries.push(retry),
      ...options,
    })
    for await (const chunk of download.bytes) chunks.push(chunk)
  } catch (thrown) {
    error = thrown
  }
  return { bytes: Buffer.concat(chunks), retries, error }
}

/** Another fault for each request of a page, then none. */
export function faults(...each: WebFault[]): Pick<PageOptions, 'fault'> {
  return { fault: (count) => each[count - 1] }
}

/** Runs `work` with a fetcher that is closed after it. */
export async function withFetcher(
  options: Partial<FetcherOptions>,
  work: (fetcher: Fetcher) => Promise<void>,
): Promise<void> {
  const fetcher = localFetcher(options)
  await work(fetcher).finally(() => fetcher.close())
}

/** Asserts that `work` ends in a SourceError of that kind. */
export async function assertFailure(
  work: Promise<unknown>,
  kind: 'transient' | 'permanent',
  message: string | RegExp,
): Promise<void> {
  try {
    await work
  } catch (error) {
    assert.instance(error, SourceError, String(error))
    const { isTransient, code, message: text } = error as SourceError
    assert.is(isTransient, kind === 'transient', text)
    assert.is(code, isTransient ? 'unavailable' : 'invalid_argument')
    assert.match(text, message)
    return
  }
  throw new Error('nothing failed')
}
