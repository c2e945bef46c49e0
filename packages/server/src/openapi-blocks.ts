// The part of /openapi.json that is about block indexes.

import { blockBytes, blockEntryBytes } from '@backing-image/core'
import { guarded, header, problems, query, ref, syncHeader } from './openapi-parts.ts'
import { type Schema, count, object, say, text } from './openapi-schemas.ts'

const block = object({
  index: say(count, 'It begins at this times blockSize.'),
  sha256: text,
  zero: say({ type: 'boolean' }, 'All its bytes are zeros.'),
})

export const blockSchemas: Record<string, Schema> = {
  BlockPage: object({
    blockSize: { const: blockBytes },
    size: say(count, 'Of the image, in bytes: the last block may be shorter.'),
    count: say(count, 'Of all blocks.'),
    data: { type: 'array', maxItems: 10_000, items: block },
    continue: say({ type: ['string', 'null'] }, 'For the next page; null on the last.'),
  }),
}

/** `which` are the parameters that choose the image. */
export function blocksRoute(which: object[]): object {
  const both = {
    parameters: [
      ...which,
      query('format', { type: 'string', enum: ['json', 'binary'] }, 'Wins over Accept.'),
      query(
        'limit',
        { type: 'integer', minimum: 1, maximum: 10_000, default: 1000 },
        'Blocks on a page of JSON.',
      ),
      query('continue', { type: 'string' }, 'From the page before.'),
      header('If-None-Match', 'ETags of the binary form that the client has.'),
      header('If-Match', 'ETags, one of which must be that of the binary form.'),
      syncHeader,
    ],
    responses: {
      200: {
        description: `A page, or the whole with ${blockEntryBytes} bytes a block.`,
        content: {
          'application/json': { schema: ref('BlockPage') },
          'application/octet-stream': { schema: {} },
        },
      },
      304: { description: 'The client has it already.' },
      ...problems(400, ...guarded, 404, 412, 429, 500, 503),
    },
  }
  const summary = 'The SHA-256 of each 4 MiB, and which of them are all zeros.'
  return {
    get: { summary, ...both },
    head: { summary: `${summary} The head only.`, ...both },
  }
}
