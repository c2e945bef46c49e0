// Where a redirect leads.

import type { IncomingMessage } from 'node:http'
import { ImageError } from '../errors.ts'
import { SourceError } from './failure.ts'
import { redactUrl } from './redact.ts'

/** Resolves Location against the URL that answered with it. */
export function locationOf(message: IncomingMessage, from: URL): URL {
  const location = message.headers.location ?? ''
  // Node reads fields as Latin-1; raw UTF-8 is what is meant.
  const text = Buffer.from(location, 'latin1').toString('utf8')
  if (location !== '' && URL.canParse(text, from.href)) return new URL(text, from)
  const found = location === '' ? 'without saying where to' : 'to what is no URL'
  throw new SourceError(`Could not read ${redactUrl(from.href)}: it redirects ${found}.`, {
    isTransient: false,
  })
}

/** The failure of a hop after the first, which says who led there. */
export function redirected(error: unknown, from: URL): unknown {
  if (!(error instanceof ImageError) || error instanceof SourceError) return error
  const text = `${redactUrl(from.href)} redirects to a place that is refused. ${error.message}`
  return new ImageError(error.code, text, { cause: error })
}
