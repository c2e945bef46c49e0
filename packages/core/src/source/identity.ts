// What tells one content of a URL from another: ETag, date, length and encoding. A download that was
// broken off goes on only with what is certainly the same.

import type { Answer } from './answer.ts'

export interface Identity {
  etag?: string | undefined
  lastModified?: string | undefined
  /** Of the whole content, in bytes. */
  size?: number | undefined
  /** Empty where there is none. */
  encoding?: string | undefined
}

export interface ContentRange {
  /** The first and the last byte; undefined where no range is satisfiable. */
  start: number | undefined
  end: number | undefined
  /** Of the whole content, where it is told. */
  total: number | undefined
}

/** Content-Range (RFC 9110 §14.4); undefined when it is none of bytes. */
export function contentRangeOf({ headers }: Answer): ContentRange | undefined {
  const match = /^bytes (?:([0-9]+)-([0-9]+)|\*)\/(?:([0-9]+)|\*)$/i.exec(
    headers['content-range'] ?? '',
  )
  const [, start, end, total] = match ?? []
  return match ? { start: integer(start), end: integer(end), total: integer(total) } : undefined
}

function integer(digits: string | undefined): number | undefined {
  const value = Number(digits ?? Number.NaN)
  return Number.isSafeInteger(value) ? value : undefined
}

/** Of what a 200 or a 206 brings. */
export function identityOf(answer: Answer): Identity {
  const { status, headers } = answer
  const size =
    status === 206 ? contentRangeOf(answer)?.total : integer(headers['content-length']?.trim())
  const encoding = headers['content-encoding']?.trim().toLowerCase() ?? ''
  return {
    etag: headers.etag,
    lastModified: headers['last-modified'],
    size,
    encoding: encoding === 'identity' ? '' : encoding,
  }
}

/** What is known of the content that a validator was given for. */
export function identityFrom(validator: string, size: number | undefined): Identity {
  return validator.startsWith('"') ? { etag: validator, size } : { lastModified: validator, size }
}

/** How the two contents differ, in words; undefined when nothing says that they do. */
export function difference(before: Identity, now: Identity): string | undefined {
  const names = {
    etag: 'ETag',
    lastModified: 'date',
    size: 'length',
    encoding: 'encoding',
  } as const
  for (const key of ['etag', 'lastModified', 'size', 'encoding'] as const) {
    const [old, found] = [before[key], now[key]]
    if (old !== undefined && found !== undefined && old !== found) {
      return `its ${names[key]} was ${shown(old)} and is ${shown(found)}`
    }
  }
  return undefined
}

function shown(value: string | number): string {
  return JSON.stringify(value).slice(0, 100)
}

/** How much older than the answer a change must be, so that no second one hides in the same second. */
const settledMs = 60_000

/**
 * What If-Range may carry (RFC 9110 §13.1.5): a strong ETag; or, where there is no ETag at all, a
 * date that is strong (§8.8.2.2). The same date may stand for two encodings of a content.
 */
export function validatorOf(answer: Answer): string | undefined {
  const { etag, 'last-modified': lastModified, date = '' } = answer.headers
  if (etag !== undefined) return /^"[^"]*"$/.test(etag) ? etag : undefined
  if (lastModified === undefined || identityOf(answer).encoding !== '') return undefined
  const ageMs = Date.parse(date) - Date.parse(lastModified)
  return ageMs >= settledMs ? lastModified : undefined
}
