// Which bytes a Range header asks for (RFC 9110 §14), and whether If-Range lets it (§13.1.5).

import type { Range } from '@backing-image/core'

export type RangeAnswer =
  | { kind: 'whole' }
  | { kind: 'part'; range: Range }
  | { kind: 'unsatisfiable' }

const whole: RangeAnswer = { kind: 'whole' }

/**
 * One range is served; several give the whole, which §14.2 allows. What is no valid byte range must
 * be ignored (§14.2), and one that begins behind the end can not be satisfied (§15.5.17).
 */
export function readRange(header: string | undefined, size: number): RangeAnswer {
  const [, set = ''] = /^bytes=(.*)$/i.exec(header?.trim() ?? '') ?? []
  // A list may have empty elements (§5.6.1).
  const specs = set.split(',').flatMap((each) => each.trim() || [])
  const [, first = '', last = ''] = /^([0-9]*)-([0-9]*)$/.exec(specs[0] ?? '') ?? []
  if (specs.length !== 1 || (first === '' && last === '')) return whole
  if (first === '') {
    const length = Math.min(Number(last), size)
    if (length === 0) return { kind: 'unsatisfiable' }
    return { kind: 'part', range: { start: size - length, end: size - 1 } }
  }
  const start = Number(first)
  const end = last === '' ? Infinity : Number(last)
  if (end < start) return whole
  if (start >= size) return { kind: 'unsatisfiable' }
  return { kind: 'part', range: { start, end: Math.min(end, size - 1) } }
}

/**
 * False when the client's part is of other bytes, so that it must get the whole. A weak tag never
 * matches (§13.1.5). A date is one only where the URL names the version: two versions of one second
 * have the same date, and a client would join the halves of both.
 */
export function allowsRange(
  ifRange: string | undefined,
  current: { etag: string; modifiedAt: Date; isImmutable: boolean },
): boolean {
  if (ifRange === undefined) return true
  const validator = ifRange.trim()
  if (validator.startsWith('"') || validator.startsWith('W/')) return validator === current.etag
  return current.isImmutable && validator === current.modifiedAt.toUTCString()
}
