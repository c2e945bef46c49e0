// The block index of an image: pages of JSON for people and scripts, all of it in its kept form for
// those who pull.

import { type OpenedBlocks, assertUuid, blockBytes, blockEntryBytes } from '@backing-image/core'
import type { Hono } from 'hono'
import { accepts } from 'hono/accepts'
import type { Call, Env } from './front.ts'
import { readName } from './images.ts'
import { badToken, decodeToken, encodeToken } from './page-token.ts'
import { invalid } from './problem.ts'
import { readChoice, readCount, readQuery, readSelection } from './query.ts'
import { answerConditions, sendBytes, validatorsOf } from './sending.ts'
import { inSync } from './sync-senders.ts'
import type { Front } from './upload.ts'

const blocksMax = 10_000
const blocksUsual = '1000'
/** One URL has both forms: a cache must not give the one for the other. */
const vary = { Vary: 'Accept' }
const types = { json: 'application/json', binary: 'application/octet-stream' }

export function addBlocksRoute(app: Hono<Env>, front: Front): void {
  app.get('/v1/backing-images/:name/blocks', async (c) => {
    const name = readName(c)
    const query = readQuery(c, 'version', 'format', 'limit', 'continue')
    const { version } = readSelection({ ...(query.version && { version: query.version }) })
    const limit = readCount('limit', query.limit ?? blocksUsual, 1, blocksMax)
    const select = version === undefined ? {} : { version }
    if (formOf(c, query.format) === 'json') {
      const { uuid, first } = readToken(query.continue)
      const opened = await front.store.blocks(name, { ...select, ...(uuid && { uuid }) })
      const page = async () => c.json(await pageOf(opened, first, limit), 200, vary)
      return await inSync(c, front.senders, opened.image, page)
    }
    if (query.limit !== undefined || query.continue !== undefined) {
      throw invalid('limit and continue are for pages of JSON; the binary form is always whole.')
    }
    const opened = await front.store.blocks(name, select)
    const send = () => sendIndex(c, front, opened, version !== undefined)
    return await inSync(c, front.senders, opened.image, send)
  })
}

function formOf(c: Call, asked: string | undefined): 'json' | 'binary' {
  if (asked !== undefined) return readChoice('format', asked, ['json', 'binary'])
  const supports = Object.values(types)
  const type = accepts(c, { header: 'Accept', supports, default: types.json })
  return type === types.binary ? 'binary' : 'json'
}

/** All pages are of the bytes of the first: a name may come to mean others in between. */
function readToken(token: string | undefined): { uuid?: string; first: number } {
  if (token === undefined) return { first: 0 }
  const [, uuid = '', first = ''] = /^([^ ]+) ([0-9]{1,15})$/.exec(decodeToken(token)) ?? []
  if (first === '') throw badToken()
  assertUuid(uuid)
  return { uuid, first: Number(first) }
}

async function pageOf(opened: OpenedBlocks, first: number, limit: number) {
  const { image, count } = opened
  if (first > count) throw badToken()
  const part = await opened.read({ first, count: Math.min(limit, count - first) })
  const end = first + part.count
  return {
    blockSize: blockBytes,
    size: image.size,
    count,
    data: Array.from({ length: part.count }, (_, at) => ({
      index: first + at,
      sha256: part.sha256(first + at),
      zero: part.isZero(first + at),
    })),
    continue: end < count ? encodeToken(`${image.uuid} ${end}`) : null,
  }
}

async function sendIndex(
  c: Call,
  front: Front,
  opened: OpenedBlocks,
  isImmutable: boolean,
): Promise<Response> {
  const { image, count } = opened
  const etag = `"${image.currentChecksum}-blocks"`
  const current = { etag, modifiedAt: new Date(image.updatedAt), isImmutable }
  const validators = { ...validatorsOf(current), ...vary }
  const headers = {
    ...validators,
    'Content-Type': types.binary,
    'Content-Length': String(count * blockEntryBytes),
  }
  return (
    answerConditions(c, current, validators) ??
    (await sendBytes(c, front, {
      image,
      status: 200,
      headers,
      read: (signal) => opened.bytes(signal),
    }))
  )
}
