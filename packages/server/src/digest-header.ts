// Digests in headers, as RFC 9530 has them: `sha-512=:base64:, sha-256=:base64:`.

import { parseChecksum } from '@backing-image/core'
import { invalid } from './problem.ts'

const algorithms = new Map([
  ['sha-512', 'sha512'],
  ['sha-256', 'sha256'],
])

/**
 * The digests of a Repr-Digest or Content-Digest header as `algorithm:hex`. Algorithms that we do
 * not make are ignored (RFC 9530 §5: the others are deprecated); one of ours that is malformed throws.
 */
export function readDigests(name: string, header: string | undefined): string[] {
  return (header ?? '').split(',').flatMap((member) => {
    const [, key = '', value = ''] = /^\s*([^=\s]+)\s*=\s*([^;]*)/.exec(member) ?? []
    const algorithm = algorithms.get(key.toLowerCase())
    if (algorithm === undefined) return []
    const [, base64 = ''] = /^:([A-Za-z0-9+/]+={0,2}):\s*$/.exec(value) ?? []
    try {
      return [parseChecksum(`${algorithm}:${Buffer.from(base64, 'base64').toString('hex')}`)]
    } catch {
      throw invalid(`${name} has no ${key} digest in its value: "${key}=:BASE64:" is expected.`)
    }
  })
}

export function formatDigests(checksums: { sha512: string; sha256: string }): string {
  const member = (key: string, hex: string) =>
    `${key}=:${Buffer.from(hex, 'hex').toString('base64')}:`
  return `${member('sha-512', checksums.sha512)}, ${member('sha-256', checksums.sha256)}`
}
