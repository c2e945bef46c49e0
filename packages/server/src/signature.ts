// Signs and checks the paths of permanent file URLs, whose holders have no other credentials.

import { createHmac, timingSafeEqual } from 'node:crypto'
import type { Config } from './config.ts'

/** The signature where no tokens are set: there is nothing to keep anybody from. */
const unsigned = '-'

export class FileSigner {
  readonly #keys: readonly string[]
  readonly #isOpen: boolean

  constructor(config: Pick<Config, 'urlSigningKeys' | 'apiToken' | 'apiReadToken'>) {
    this.#keys = config.urlSigningKeys
    this.#isOpen = config.apiToken === undefined && config.apiReadToken === undefined
  }

  /** The path of a file; undefined where tokens are set but no key to sign with. */
  path(id: string, filename: string): string | undefined {
    const [key] = this.#keys
    if (this.#isOpen) return `/files/${id}/${unsigned}/${filename}`
    return key === undefined ? undefined : `/files/${id}/${sign(key, id, filename)}/${filename}`
  }

  /** Whether the path was signed with any of the keys. */
  isGood(id: string, signature: string, filename: string): boolean {
    if (this.#isOpen && signature === unsigned) return true
    const given = Buffer.from(signature)
    return this.#keys
      .map((key) => {
        const good = Buffer.from(sign(key, id, filename))
        return good.length === given.length && timingSafeEqual(good, given)
      })
      .includes(true)
  }
}

/** HMAC-SHA256 of the path without its signature. */
function sign(key: string, id: string, filename: string): string {
  return createHmac('sha256', key).update(`/files/${id}/${filename}`).digest('base64url')
}
