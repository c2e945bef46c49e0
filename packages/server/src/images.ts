// Images as resources: the list, one, its versions, rollback and delete.

import { type Image, ImageError, assertName, assertVersion, sourceTypes } from '@backing-image/core'
import type { Hono } from 'hono'
import { z } from 'zod'
import { follow } from './abort.ts'
import { readText } from './body.ts'
import type { Call, Env } from './front.ts'
import { removeEverywhere } from './removal.ts'
import { badToken, decodeToken, encodeToken, pageMax, pageUsual } from './page-token.ts'
import { invalid } from './problem.ts'
import { onlyOnce, readChoice, readCount, readQueries, readQuery, readSelection } from './query.ts'
import { type ImageView, baseUrl, viewOf } from './view.ts'
import { readLabel } from './upload-options.ts'
import type { Front } from './upload.ts'

const waitSecondsMax = 3600
const states = ['pending', 'starting', 'in-progress', 'ready', 'failed', 'unknown'] as const

export function addImageRoutes(app: Hono<Env>, front: Front): void {
  const { store } = front
  const view = (c: Call, image: Image): ImageView => viewOf(image, baseUrl(c, front.config), front)
  const page = (c: Call, images: readonly Image[], next: string | null): Response =>
    c.json({ data: images.map((image) => view(c, image)), continue: next })

  app.get('/v1/backing-images', async (c) => {
    const { accepts, limit, after } = readListQuery(c)
    // Of thousands only those of the page are looked at twice.
    const found: Image[] = []
    for (const image of await store.list()) {
      if (image.name <= after || !accepts(image)) continue
      found.push(image)
      if (found.length > limit) break
    }
    const shown = found.slice(0, limit)
    return page(c, shown, found.length > limit ? encodeToken(shown.at(-1)?.name ?? '') : null)
  })

  app.get('/v1/backing-images/:name', async (c) => {
    const name = readName(c)
    const query = readQuery(c, 'version', 'uuid', 'state', 'wait')
    const select = {
      ...readSelection(query),
      ...(query.state === undefined ? {} : { state: readChoice('state', query.state, ['ready']) }),
    }
    if (query.wait === undefined) return c.json(view(c, await store.get(name, select)))
    const timeoutMs = readCount('wait', query.wait, 0, waitSecondsMax) * 1000
    const { signal, release } = follow(c.req.raw.signal, front.stopping)
    try {
      return c.json(view(c, await store.wait(name, select, timeoutMs, signal)))
    } catch (error) {
      if (!signal.aborted) throw error
      // Nobody has to wait for a server that stops: it tells what is so far.
      return c.json(view(c, await store.get(name, select)))
    } finally {
      release()
    }
  })

  app.get('/v1/backing-images/:name/versions', async (c) => {
    const name = readName(c)
    const query = readQuery(c, 'limit', 'continue')
    const limit = readCount('limit', query.limit ?? pageUsual, 1, pageMax)
    const versions = await store.versions(name)
    if (versions.length === 0) throw new ImageError('not_found', `There is no image ${name}.`)
    // Newer versions come in at the front: how many are left is what stays the same.
    const rest = query.continue === undefined ? undefined : Number(decodeToken(query.continue))
    if (rest !== undefined && !Number.isSafeInteger(rest)) throw badToken()
    const start = rest === undefined ? 0 : Math.max(0, versions.length - rest)
    const left = versions.length - start - limit
    return page(c, versions.slice(start, start + limit), left > 0 ? encodeToken(`${left}`) : null)
  })

  app.post('/v1/backing-images/:name/rollback', async (c) => {
    const name = readName(c)
    readQuery(c)
    const version = readRollback(await readText(c, front.config.idleTimeoutMs))
    const image = view(c, await store.rollback(name, version))
    front.log.info({ requestId: c.get('requestId'), name, version, as: image.version }, 'rollback')
    return c.json(image, 201, { Location: image.links.self })
  })

  app.delete('/v1/backing-images/:name', async (c) => {
    const name = readName(c)
    const query = readQuery(c, 'version', 'force')
    const { version } = readSelection(query)
    const isForced = readChoice('force', query.force ?? 'false', ['true', 'false']) === 'true'
    await removeEverywhere(front, name, { isForced, ...(version !== undefined && { version }) })
    front.log.info({ requestId: c.get('requestId'), name, version }, 'image deleted')
    return c.body(null, 204)
  })
}

export function readName(c: Call): string {
  const name = c.req.param('name') ?? ''
  assertName(name)
  return name
}

interface ListQuery {
  accepts(image: Image): boolean
  limit: number
  /** The last name of the page before. */
  after: string
}

function readListQuery(c: Call): ListQuery {
  const { label, ...others } = readQueries(
    c,
    ...(['name', 'state', 'label', 'sourceType', 'dataEngine', 'limit', 'continue'] as const),
  )
  const query = onlyOnce(others)
  const { name } = query
  if (name !== undefined) assertName(name)
  const state = query.state && readChoice('state', query.state, states)
  const sourceType = query.sourceType && readChoice('sourceType', query.sourceType, sourceTypes)
  const dataEngine = query.dataEngine && readChoice('dataEngine', query.dataEngine, ['v1', 'v2'])
  const labels = label.map(readLabel)
  return {
    limit: readCount('limit', query.limit ?? pageUsual, 1, pageMax),
    after: query.continue === undefined ? '' : decodeToken(query.continue),
    accepts: (image) =>
      (name === undefined || image.name === name) &&
      (state === undefined || image.state === state) &&
      (sourceType === undefined || image.sourceType === sourceType) &&
      (dataEngine === undefined || image.dataEngine === dataEngine) &&
      labels.every(([key, value]) => image.labels[key] === value),
  }
}

const rollbackBody = z.strictObject({ version: z.string() })

function readRollback(text: string): string {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch {
    throw invalid('The body is no JSON; {"version":"…"} is expected.')
  }
  const body = rollbackBody.safeParse(value)
  if (!body.success) throw invalid('{"version":"…"} is expected as body, and nothing else.')
  assertVersion(body.data.version)
  return body.data.version
}
