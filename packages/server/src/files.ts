// The permanent URL of the bytes of one ingest, for pullers without credentials: the signature in its
// path is the credential. It takes no query and never redirects.

import { ImageError, parseIngestId } from '@backing-image/core'
import type { Hono } from 'hono'
import { sendImage } from './download.ts'
import type { Env } from './front.ts'
import { invalid } from './problem.ts'
import { inSync } from './sync-senders.ts'
import type { Front } from './upload.ts'
import { isAligned } from './view.ts'

export function addFileRoute(app: Hono<Env>, front: Front): void {
  app.get('/files/:id/:signature/:filename', async (c) => {
    const { id, signature, filename } = c.req.param()
    // First of all: without it nobody learns what there is.
    if (!front.signer.isGood(id, signature, filename)) {
      throw new ImageError(
        'permission_denied',
        "The signature in the URL is not one of this server: take the URL from the image's " +
          'links.file again.',
        { reason: 'forbidden' },
      )
    }
    const ingest = parseIngestId(id)
    if (!ingest) throw new ImageError('not_found', 'There is no such file.')
    const { name, uuid } = ingest
    assertFileName(filename, name)
    // The same headers as long as the URL lives, whichever version names the bytes by then.
    const opened = await front.store.openFile(name, uuid, isAligned(filename))
    const send = () => sendImage(c, front, opened, true, filename)
    return await inSync(c, front.senders, opened.image, send)
  })
}

/** Unsigned, it may be anything that somebody put into a link. */
function assertFileName(filename: string, name: string): void {
  const isPlain = /^[A-Za-z0-9][A-Za-z0-9._-]{0,199}(~aligned\.[a-z0-9]+)?$/.test(filename)
  if (isPlain && filename.startsWith(`${name}-`)) return
  throw invalid(
    `The file name is ${JSON.stringify(filename.slice(0, 80))}; at most 200 letters, digits, ".", ` +
      `"_" and "-" that begin with "${name}-" are expected. Take the URL from the image's links.file.`,
  )
}
