// Who may do what: the tokens, and how a request shows that it has one.

import { createHash, timingSafeEqual } from 'node:crypto'
import { ImageError } from '@backing-image/core'
import type { MiddlewareHandler } from 'hono'
import type { Config } from './config.ts'
import type { Env, Grant } from './front.ts'
import { ErrorWithHeaders } from './problem.ts'

const realm = 'realm="backing-image-manager"'
// Basic first: clients that understand one challenge only read the first.
const challenges = `Basic ${realm}, charset="UTF-8", Bearer ${realm}`

export class Access {
  readonly #writers: Buffer[]
  readonly #readers: Buffer[]

  constructor(config: Pick<Config, 'apiToken' | 'apiReadToken'>) {
    this.#writers = digests(config.apiToken)
    this.#readers = digests(config.apiReadToken)
  }

  /** Without tokens everyone may do everything. */
  get isOpen(): boolean {
    return this.#writers.length === 0 && this.#readers.length === 0
  }

  /** What the Authorization header of a request allows. */
  grantOf(authorization: string | undefined): Grant {
    if (this.isOpen) return 'write'
    const token = tokenIn(authorization ?? '')
    // Every token is compared, whatever the others said: the time tells nothing.
    const mayWrite = matches(this.#writers, token)
    const mayRead = matches(this.#readers, token)
    return mayWrite ? 'write' : mayRead ? 'read' : 'none'
  }
}

/** Lets nobody pass to the routes behind it who lacks the token that the method needs. */
export function requireAccess(access: Access): MiddlewareHandler<Env> {
  return async (c, next) => {
    const grant = access.grantOf(c.req.header('authorization'))
    if (grant === 'none') throw unauthenticated(c.req.header('authorization') !== undefined)
    if (grant === 'read' && c.req.method !== 'GET' && c.req.method !== 'HEAD') {
      throw new ImageError(
        'permission_denied',
        'API_READ_TOKEN allows GET and HEAD only; send API_TOKEN for this.',
        { reason: 'forbidden' },
      )
    }
    c.set('grant', grant)
    await next()
  }
}

function unauthenticated(wasGiven: boolean): ImageError {
  const what = wasGiven ? 'The token is not one of this server.' : 'This server wants a token.'
  return new ErrorWithHeaders(
    new ImageError(
      'unauthenticated',
      `${what} Send "Authorization: Bearer TOKEN", or Basic with any user name and the token as ` +
        'password.',
    ),
    { 'WWW-Authenticate': challenges },
  )
}

/** RFC 6750 §2.1 and RFC 7617 §2; the user name before the first colon means nothing. */
function tokenIn(authorization: string): string {
  const [, scheme = '', credentials = ''] = /^(\w+) +(\S+) *$/.exec(authorization) ?? []
  if (scheme.toLowerCase() === 'bearer') return credentials
  if (scheme.toLowerCase() !== 'basic') return ''
  const pair = Buffer.from(credentials, 'base64').toString()
  const colon = pair.indexOf(':')
  return colon < 0 ? '' : pair.slice(colon + 1)
}

/** Digests of one length, so that neither content nor length of a token shows in the time. */
function matches(known: readonly Buffer[], token: string): boolean {
  const [given] = digests(token === '' ? '\0' : token)
  return known.map((each) => given !== undefined && timingSafeEqual(each, given)).includes(true)
}

function digests(token: string | undefined): Buffer[] {
  return token === undefined ? [] : [createHash('sha256').update(token).digest()]
}
