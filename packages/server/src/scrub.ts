// Scrubs as resources: one that runs, the reports of those that ran; and what the log says of them.

import { type ScrubOptions, type ScrubReport, type ScrubRequest } from '@backing-image/core'
import { assertScrubId, formatReport } from '@backing-image/core'
import type { Hono } from 'hono'
import { accepts } from 'hono/accepts'
import type { Logger } from 'pino'
import { z } from 'zod'
import { readText } from './body.ts'
import type { Config } from './config.ts'
import type { Call, Env } from './front.ts'
import { invalid } from './problem.ts'
import { parseSize, sizeForm } from './quantity.ts'
import { readQuery } from './query.ts'
import type { Front } from './upload.ts'
import { baseUrl } from './view.ts'

/** So many faults of one scrub have a line of their own in the log. */
const faultsToldMax = 20

export function addScrubRoutes(app: Hono<Env>, front: Front): void {
  const { store, config, log } = front

  app.post('/v1/scrub', async (c) => {
    readQuery(c)
    const request = readRequest(await readText(c, config.idleTimeoutMs))
    const report = await store.scrubs.start(request)
    const { id, repair } = report
    log.info({ requestId: c.get('requestId'), id, repair }, 'scrub begun')
    return answer(c, report, 202, { Location: `${baseUrl(c, config)}/v1/scrub/${id}` })
  })

  app.get('/v1/scrub', async (c) => {
    readQuery(c)
    return c.json({ data: await store.scrubs.list() })
  })

  app.get('/v1/scrub/:id', async (c) => {
    readQuery(c)
    return answer(c, await store.scrubs.get(readId(c)), 200)
  })

  app.delete('/v1/scrub/:id', async (c) => {
    readQuery(c)
    const id = readId(c)
    await store.scrubs.cancel(id)
    log.info({ requestId: c.get('requestId'), id }, 'scrub cancelled, or its report removed')
    return c.body(null, 204)
  })
}

/** How the store is scrubbed, and what is told of it. */
export function scrubOptions({ scrub }: Config, log: Logger): ScrubOptions {
  return { ...scrub, onEnd: (report) => tell(report, log) }
}

function tell(report: ScrubReport, log: Logger): void {
  const { id, state, message, repair, faults, notes, repaired, findings } = report
  const bytes = report.steps.reduce((sum, step) => sum + step.bytes, 0)
  const about = { id, state, repair, faults, notes, repaired, bytes }
  if (state === 'failed') log.warn({ ...about, message }, 'scrub failed')
  else log.info(about, 'scrub ended')
  const wrong = findings.filter(({ level }) => level === 'fault')
  for (const finding of wrong.slice(0, faultsToldMax)) {
    log.error({ id, ...finding }, 'the store has a fault')
  }
}

function answer(
  c: Call,
  report: ScrubReport,
  status: 200 | 202,
  headers: Record<string, string> = {},
): Response {
  const type = accepts(c, {
    header: 'Accept',
    supports: ['application/json', 'text/plain'],
    default: 'application/json',
  })
  const all = { ...headers, 'Cache-Control': 'no-store', Vary: 'Accept' }
  return type === 'text/plain'
    ? c.text(formatReport(report), status, all)
    : c.json(report, status, all)
}

function readId(c: Call): string {
  const id = c.req.param('id') ?? ''
  assertScrubId(id)
  return id
}

const body = z.strictObject({
  repair: z.boolean().optional(),
  steps: z.array(z.string()).max(100).optional(),
  rate: z.union([z.string(), z.number()]).optional(),
})

function readRequest(text: string): ScrubRequest {
  const form = '{"repair": false, "steps": ["records", …], "rate": "50MiB"}, all of them optional,'
  let value: unknown
  try {
    value = JSON.parse(text.trim() === '' ? '{}' : text)
  } catch {
    throw invalid(`The body is no JSON; ${form} is expected.`)
  }
  const parsed = body.safeParse(value)
  if (!parsed.success) throw invalid(`${form} is expected as body, and nothing else.`)
  const { repair, steps, rate } = parsed.data
  return {
    ...(repair === undefined ? {} : { repair }),
    ...(steps === undefined ? {} : { steps }),
    ...(rate === undefined ? {} : { bytesPerSecond: readRate(rate) }),
  }
}

function readRate(rate: string | number): number {
  const bytesPerSecond = parseSize(String(rate))
  if (bytesPerSecond) return bytesPerSecond
  const given = JSON.stringify(String(rate).slice(0, 80))
  throw invalid(`rate is ${given}; ${sizeForm}, over 0, is expected: bytes per second.`)
}
