// Conditional requests: If-Match, If-Unmodified-Since, If-None-Match and If-Modified-Since, in the
// order of RFC 9110 §13.2.2, for what GET and HEAD read.

export type Verdict = 'proceed' | 'not-modified' | 'failed'

export interface Validators {
  /** Strong, with its quotes. */
  etag: string
  modifiedAt: Date
}

export type HeaderReader = (name: string) => string | undefined

/** What a GET or HEAD of the current bytes has to answer. */
export function checkConditions(header: HeaderReader, current: Validators): Verdict {
  const ifMatch = header('if-match')
  const ifUnmodifiedSince = readDate(header('if-unmodified-since'))
  const modifiedAtMs = Math.floor(current.modifiedAt.getTime() / 1000) * 1000
  if (ifMatch !== undefined) {
    // Strong comparison (§13.1.1): a weak tag is never equal.
    if (!matches(ifMatch, (tag) => tag === current.etag)) return 'failed'
  } else if (ifUnmodifiedSince !== undefined && modifiedAtMs > ifUnmodifiedSince) {
    return 'failed'
  }
  const ifNoneMatch = header('if-none-match')
  const ifModifiedSince = readDate(header('if-modified-since'))
  if (ifNoneMatch !== undefined) {
    // Weak comparison (§13.1.2): only the opaque parts count.
    const isKnown = matches(ifNoneMatch, (tag) => tag.replace(/^W\//, '') === current.etag)
    return isKnown ? 'not-modified' : 'proceed'
  }
  // A date that is none is ignored (§13.1.3).
  if (ifModifiedSince !== undefined && modifiedAtMs <= ifModifiedSince) return 'not-modified'
  return 'proceed'
}

function matches(header: string, isSame: (tag: string) => boolean): boolean {
  if (header.trim() === '*') return true
  const tags = header.match(/(?:W\/)?"[\x21\x23-\x7e\x80-\xff]*"/g) ?? []
  return tags.some(isSame)
}

/** An HTTP date (§5.6.7) in milliseconds; all its forms are in GMT. */
function readDate(text: string | undefined): number | undefined {
  if (text === undefined || !/^[A-Z][a-z]+,? /.test(text)) return undefined
  const at = Date.parse(text.endsWith('GMT') ? text : `${text} GMT`)
  return Number.isNaN(at) ? undefined : at
}
