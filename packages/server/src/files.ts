// The permanent URL of one version's bytes, for pullers without credentials: the signature in its
// path is the credential. It takes no query and never redirects.

import { ImageError, parseIngestId } from '@backing-image/core'
import type { Hono } from 'hono'
import { sendImage } from './download.ts'
import type { Env } from './front.ts'
import type { Front } from './upload.ts'

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
    return await sendImage(c, front, await front.store.openFile(ingest.name, ingest.uuid), true)
  })
}
