// Checksums as clients give them and as we make them: SHA-512 and SHA-256 of everything that is
// stored, SHA-1 and MD5 where a client has nothing better.

import { ImageError } from './errors.ts'

export const algorithms = ['sha512', 'sha256', 'sha1', 'md5'] as const

export type Algorithm = (typeof algorithms)[number]

/** Lower-case hex. SHA-512 and SHA-256 are always made. */
export type Digests = { sha512: string; sha256: string } & { [key in Algorithm]?: string }

const hexLength: Record<Algorithm, number> = { sha512: 128, sha256: 64, sha1: 40, md5: 32 }

/**
 * A checksum as a client gives it: `sha512:<hex>`, `sha256:<hex>`, `sha1:<hex>`, `md5:<hex>`, or
 * bare hex told apart by its length. Returns `algorithm:hex` in lower case; throws
 * `invalid_argument`.
 */
export function parseChecksum(text: string): string {
  const [, prefix, hex = ''] = /^(?:([A-Za-z0-9]+):)?([0-9A-Fa-f]+)$/.exec(text.trim()) ?? []
  const algorithm = algorithms.find((each) =>
    prefix === undefined
      ? hexLength[each] === hex.length
      : each === prefix.toLowerCase() && hexLength[each] === hex.length,
  )
  if (algorithm === undefined) {
    throw new ImageError(
      'invalid_argument',
      `The checksum ${JSON.stringify(text.slice(0, 160))} is none of sha512:<128 hex>, ` +
        'sha256:<64 hex>, sha1:<40 hex>, md5:<32 hex>, or one of these without its prefix.',
    )
  }
  return `${algorithm}:${hex.toLowerCase()}`
}

/** Splits what `parseChecksum` made. */
export function splitChecksum(checksum: string): { algorithm: Algorithm; hex: string } {
  const [algorithm, hex] = checksum.split(':') as [Algorithm, string]
  return { algorithm, hex }
}

/**
 * Throws `data_loss` (`checksum_mismatch`) naming all sides unless each expected digest is met, be it by
 * the image or by the packed form that it came in.
 */
export function assertDigests(
  expected: readonly string[],
  digests: Digests,
  packed?: Digests,
): void {
  for (const checksum of expected) {
    const { algorithm, hex } = splitChecksum(checksum)
    const [actual, arrived] = [digests[algorithm], packed?.[algorithm]]
    if (actual === hex || arrived === hex) continue
    const found = packed ? `${arrived}, that of what was unpacked from them ${actual}` : actual
    throw new ImageError(
      'data_loss',
      `The ${algorithm} of the received bytes is ${found}, expected was ${hex}. ` +
        'Nothing was stored: compare the file with its source and send it again.',
      {
        reason: 'checksum_mismatch',
        expected: checksum,
        actual: `${algorithm}:${packed ? arrived : actual}`,
      },
    )
  }
}

/** The algorithms that a stream must be hashed with so that `expected` can be checked. */
export function algorithmsFor(expected: readonly string[]): Algorithm[] {
  const asked = expected.map((each) => splitChecksum(each).algorithm)
  return [...new Set<Algorithm>(['sha512', 'sha256', ...asked])]
}
