// The HTTP API as one value: what every request passes through, then the routes.

import { RESPONSE_ALREADY_SENT } from '@hono/node-server/utils/response'
import { ImageError, assertName } from '@backing-image/core'
import { LonghornError } from '@backing-image/longhorn'
import { randomUUID } from 'node:crypto'
import { Hono, type MiddlewareHandler } from 'hono'
import { Access, requireAccess } from './access.ts'
import { addBlocksRoute } from './blocks.ts'
import { addConsumerRoutes } from './consumers.ts'
import { addDownloadRoute } from './download.ts'
import { addEventRoute } from './events.ts'
import { addFileRoute } from './files.ts'
import { createFromDocument } from './create.ts'
import type { Call, Deps, Env } from './front.ts'
import { Gate } from './gate.ts'
import { addImageRoutes } from './images.ts'
import { addDiskRoutes } from './disk-images.ts'
import { addLonghornRoutes } from './longhorn-images.ts'
import { isDocument } from './manifest.ts'
import { addCleanupRoute } from './registered.ts'
import { uploadForm } from './multipart.ts'
import { openapiDocument } from './openapi.ts'
import { ErrorWithHeaders, invalid, problemOf, problemResponse } from './problem.ts'
import { unsupportedMedia } from './problem.ts'
import { answerAndDiscard, badHostOf, isStillSending } from './reply.ts'
import { addScrubRoutes } from './scrub.ts'
import { Seldom } from './seldom.ts'
import { FileSigner } from './signature.ts'
import { SyncSenders } from './sync-senders.ts'
import { type Front, addUploadRoute, mediaType } from './upload.ts'
import { addUsageRoute, storageBytes } from './usage.ts'
import { baseUrl } from './view.ts'

/** How long a client may take to read what it is told when the server ends. */
const lastWordsMs = 500

export function createApp(deps: Deps): Hono<Env> {
  const { config, store, health, metrics } = deps
  const access = new Access(config)
  const gate = new Gate(config.concurrentIngestsMax)
  const senders = new SyncSenders(config.syncSendersMax)
  const front: Front = { ...deps, gate, senders, signer: new FileSigner(config) }
  metrics.countImagesBy(async () => {
    const counts = new Map<string, number>()
    for (const { state } of await store.list()) counts.set(state, (counts.get(state) ?? 0) + 1)
    return counts
  })
  metrics.measureStorageBy(() => storageBytes(store))
  const { cluster } = deps.longhorn
  if (cluster) metrics.watchLonghornBy(() => cluster.report())

  const app = new Hono<Env>()
  // Storage that is away fails every request: once in a while is enough.
  const outages = new Seldom()
  app.onError((error, c) => answerError(c, deps, outages, error))
  app.use(everyRequest(deps))
  app.use(async (c, next) => {
    assertHost(badHostOf(c.env.incoming))
    assertPath(c.env.incoming.url ?? '')
    await next()
  })

  app.get('/health', (c) => c.json({ status: 'ok' }))
  app.get('/ready', (c) => {
    const report = health.report()
    const isKnown = access.grantOf(c.req.header('authorization')) !== 'none'
    const status = report.status === 'ok' ? 200 : 503
    const longhorn = deps.longhorn.cluster?.report()
    const whole = { ...report, ...(longhorn && { longhorn }) }
    return c.json(isKnown ? whole : { status: report.status }, status, {
      'Cache-Control': 'no-store',
    })
  })
  addFileRoute(app, front)

  app.use(requireAccess(access))
  app.get('/metrics', async (c) =>
    c.body(await metrics.text(), 200, { 'Content-Type': metrics.contentType }),
  )
  app.get('/openapi.json', (c) => c.json(openapiDocument(deps.version)))
  app.post('/v1/backing-images', async (c) => {
    const type = mediaType(c)
    if (type === 'multipart/form-data') return await uploadForm(c, front)
    if (isDocument(type)) return await createFromDocument(c, front)
    const base = `${baseUrl(c, config)}/v1/backing-images`
    throw unsupportedMedia(
      `The body is ${type === '' ? 'of no stated type' : JSON.stringify(type.slice(0, 80))}. Upload ` +
        `a file with: curl -T FILE ${base}/NAME, or as a form with: curl -F name=NAME -F file=@FILE ` +
        `${base}. A document is application/json or application/yaml.`,
    )
  })
  addUploadRoute(app, front)
  addImageRoutes(app, front)
  addDownloadRoute(app, front)
  addBlocksRoute(app, front)
  addConsumerRoutes(app, front)
  addLonghornRoutes(app, front)
  addDiskRoutes(app, front)
  addCleanupRoute(app, front)
  addEventRoute(app, front)
  addScrubRoutes(app, front)
  addUsageRoute(app, front)

  const known = app.routes.filter(({ method }) => method !== 'ALL').map(routePattern)
  app.notFound((c) => answerError(c, deps, outages, noRoute(c, known)))
  return app
}

/** What is done for every request, before and after its route. */
function everyRequest(deps: Deps): MiddlewareHandler<Env> {
  return async (c, next) => {
    const startedAtMs = performance.now()
    const { incoming, outgoing } = c.env
    c.set('requestId', requestId(c))
    await next()
    const seconds = (performance.now() - startedAtMs) / 1000
    const isSent = c.res === RESPONSE_ALREADY_SENT || c.res.headers.has('x-hono-already-sent')
    const status = isSent ? outgoing.statusCode : c.res.status
    deps.metrics.request(c.req.method, routeOf(c), status, seconds)
    if (isSent) return
    c.res.headers.set('X-Request-Id', c.get('requestId'))
    c.res.headers.set('X-Content-Type-Options', 'nosniff')
    if (isStillSending(incoming)) {
      await answerAndDiscard(
        incoming,
        outgoing,
        c.res,
        ...(deps.aborting?.aborted ? [lastWordsMs] : []),
      )
      c.res = RESPONSE_ALREADY_SENT
    } else if (deps.stopping?.aborted) {
      c.res.headers.set('Connection', 'close')
    }
  }
}

/** The client's own id when it is a sane one, so that its logs and ours can be joined. */
function requestId(c: Call): string {
  const given = c.req.header('x-request-id') ?? ''
  return /^[A-Za-z0-9._:-]{1,128}$/.test(given) ? given : randomUUID()
}

/** The pattern of the route, never the path: that may hold a signature, and there are too many. */
function routeOf(c: Call): string {
  return c.req.routePath === '/*' ? 'none' : c.req.routePath
}

function assertHost(bad: string | undefined): void {
  if (bad === undefined) return
  const given = JSON.stringify(bad.slice(0, 80))
  throw invalid(`The Host header is ${given}; a host, or host:port, is expected.`)
}

/**
 * Judges the path as it was sent. A URL parser takes `..` and `%2e%2e` away before any route sees
 * them, so that a name which is none would be told as "no such path", or worse, mean another path.
 */
function assertPath(url: string): void {
  const [path = ''] = url.replace(/^https?:\/\/[^/]*/i, '').split('?')
  const segments = path.split('/').map((segment) => {
    try {
      return decodeURIComponent(segment)
    } catch {
      throw invalid(`The path has a broken percent-encoding in ${JSON.stringify(segment)}.`)
    }
  })
  const [, api, noun, name] = segments
  if (api === 'v1' && noun === 'backing-images' && name !== undefined && name !== '') {
    assertName(name)
  }
  const odd = segments.find((segment) => /^\.\.?$|[/\\\0]/.test(segment))
  if (odd !== undefined) {
    throw invalid(
      `The path has the part ${JSON.stringify(odd.slice(0, 80))}; names stand as they are.`,
    )
  }
}

interface RoutePattern {
  method: string
  pattern: RegExp
}

function routePattern({ method, path }: { method: string; path: string }): RoutePattern {
  return { method, pattern: new RegExp(`^${path.replace(/:[a-z]+/g, '[^/]+')}$`) }
}

/** 405 where the path is known with another method (RFC 9110 §15.5.6), else 404. */
function noRoute(c: Call, known: readonly RoutePattern[]): ImageError {
  const methods = known
    .filter(({ pattern }) => pattern.test(c.req.path))
    .map(({ method }) => method)
  if (methods.length === 0) {
    return new ImageError('not_found', 'There is no such path; /openapi.json has those there are.')
  }
  const allowed = [...new Set(methods.flatMap((each) => (each === 'GET' ? [each, 'HEAD'] : each)))]
  const allow = allowed.join(', ')
  return new ErrorWithHeaders(
    new ImageError('unimplemented', `${c.req.method} is not possible here; ${allow} is.`, {
      reason: 'method_not_allowed',
    }),
    { Allow: allow },
  )
}

function answerError(c: Call, deps: Deps, outages: Seldom, error: Error): Response {
  const id = c.get('requestId')
  const problem = problemOf(error, id)
  deps.metrics.error(problem.code)
  const isOutage = problem.code === 'storage_unavailable'
  // A Longhorn that is away says nothing of the storage.
  if (isOutage && !(error instanceof LonghornError)) deps.health.suspect()
  const kept = isOutage ? outages.next() : 0
  if (problem.status >= 500 && kept !== undefined) {
    const more = kept > 0 ? { more: kept } : {}
    deps.log.error(
      { requestId: id, route: routeOf(c), code: problem.code, ...more, err: error },
      'request failed',
    )
  }
  return problemResponse(problem, error instanceof ErrorWithHeaders ? error.headers : {})
}
