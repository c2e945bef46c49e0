// Lists that are given in pages: how long a page is, and the token that asks for the next one.

import type { ImageError } from '@backing-image/core'
import { invalid } from './problem.ts'

export const pageMax = 1000
export const pageUsual = '100'

/** A token says nothing to the client, so that it may come to mean something else. */
export function encodeToken(text: string): string {
  return Buffer.from(text).toString('base64url')
}

export function decodeToken(token: string): string {
  const text = Buffer.from(token, 'base64url').toString()
  if (token === '' || text.length > 64 || encodeToken(text) !== token) throw badToken()
  return text
}

export function badToken(): ImageError {
  return invalid('continue is no token of this server; take it from the page before.')
}
