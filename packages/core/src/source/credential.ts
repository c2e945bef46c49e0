// Secrets that are sent to a source, and to which hosts.

import { ImageError } from '../errors.ts'

export interface Credential {
  /** Header fields, such as Authorization. */
  headers: Record<string, string>
  /** Exact names or `*.suffix`, each with or without a `:port`: nowhere else is it sent. */
  hosts: readonly string[]
}

/** Throws `invalid_argument` unless the credential may be sent to the host of `url`. */
export function assertCredential(credential: Credential, url: URL): void {
  if (isMeantFor(credential, url)) return
  throw new ImageError(
    'invalid_argument',
    `The credential is not meant for ${url.host}: its secret lists the hosts that it may be sent to.`,
  )
}

export function isMeantFor({ hosts }: Credential, url: URL): boolean {
  const port = url.port || (url.protocol === 'https:' ? '443' : '80')
  return hosts.some((entry) => {
    const [, name = '', onlyPort] =
      /^(\[[^\]]*\]|[^:]*)(?::([0-9]+))?$/.exec(entry.toLowerCase()) ?? []
    if (name === '' || (onlyPort !== undefined && onlyPort !== port)) return false
    if (name.startsWith('*.')) return url.hostname.endsWith(name.slice(1))
    return url.hostname === name
  })
}
