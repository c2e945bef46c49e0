// The part of /openapi.json that is about the store as a whole: scrubs, usage.

import { scrubSteps } from '@backing-image/core'
import { guarded, json, limit, next, path, problems, ref } from './openapi-parts.ts'
import {
  type Schema,
  count,
  nameSchema,
  object,
  say,
  text,
  time,
  uuidSchema,
  versionSchema,
} from './openapi-schemas.ts'

const scrubId: Schema = { type: 'string', pattern: '^[0-9a-f]{16}$' }
const stepName: Schema = { type: 'string', enum: scrubSteps.map(({ name }) => name) }
const found = {
  faults: say(count, 'What is wrong.'),
  notes: say(count, 'What is worth knowing.'),
  repaired: say(count, 'Of both, what was repaired.'),
}

const step = object({
  name: stepName,
  what: say(text, 'What it looks for.'),
  state: { type: 'string', enum: ['waiting', 'running', 'done', 'stopped'] },
  objects: say(count, 'Looked at so far.'),
  bytes: say(count, 'Of images, read so far.'),
  bytesExpected: say(count, 'That it will read in all, where that is known.'),
  ...found,
})

const finding = object(
  {
    step: stepName,
    level: { type: 'string', enum: ['fault', 'note'] },
    key: say(text, 'Of the object, or the name in the root of the store.'),
    name: nameSchema,
    version: versionSchema,
    uuid: uuidSchema,
    what: say(text, 'What was found, what is expected and what to do.'),
    expected: text,
    actual: text,
    repair: say(
      { type: 'string', enum: ['none', 'possible', 'done', 'failed'] },
      'possible: a scrub with repair would.',
    ),
  },
  ['key', 'name', 'version', 'uuid', 'expected', 'actual', 'repair'],
)

const summary = {
  id: scrubId,
  state: { type: 'string', enum: ['running', 'done', 'cancelled', 'failed'] },
  message: say(text, 'Why it ended before it was done; else empty.'),
  repair: { type: 'boolean' },
  rate: say({ type: 'number' }, 'Bytes per second that it reads at most.'),
  startedAt: time,
  endedAt: { type: ['string', 'null'], format: 'date-time' },
  ...found,
  steps: { type: 'array', items: step },
  findingsLeftOff: say(count, 'Found, but not kept.'),
}

const counts = {
  versions: count,
  logical: say(count, 'The sizes of all versions.'),
  allocated: say(count, 'What their bytes take on the medium, shared bytes once.'),
  shared: say(count, 'The part of logical that is not stored again.'),
}

const bytesOrNull: Schema = { type: ['integer', 'null'], minimum: 0 }

const usage = object({
  names: count,
  ...counts,
  inFlight: object({
    jobs: say(count, 'Work that has not ended.'),
    received: say(count, 'Bytes that have arrived.'),
    announced: say(count, 'Bytes still to come, where that was told.'),
  }),
  free: say(bytesOrNull, 'For new images; null where the medium does not tell.'),
  total: say(bytesOrNull, 'What the medium holds.'),
  data: { type: 'array', items: object({ name: nameSchema, ...counts }) },
  continue: say({ type: ['string', 'null'] }, 'For the next page; null on the last.'),
})

export const storeSchemas: Record<string, Schema> = {
  ScrubRequest: {
    ...object(
      {
        repair: { type: 'boolean', default: false },
        steps: { type: 'array', items: stepName },
        rate: { type: ['string', 'integer'], examples: ['50MiB'] },
      },
      ['repair', 'steps', 'rate'],
    ),
    additionalProperties: false,
  },
  Scrub: object({ ...summary, findings: { type: 'array', maxItems: 1000, items: finding } }),
  Usage: usage,
  ScrubList: object({ data: { type: 'array', maxItems: 20, items: object(summary) } }),
}

const reportAsText = { 'text/plain': { schema: text } }

const report = (description: string, headers: object = {}): object => ({
  description,
  headers,
  content: { 'application/json': { schema: ref('Scrub') }, ...reportAsText },
})

export const storeRoutes: Record<string, object> = {
  '/v1/scrub': {
    get: {
      summary: 'The newest 20 scrubs, newest first, without their findings.',
      responses: {
        200: json('All that are kept.', 'ScrubList'),
        ...problems(...guarded, 500, 503),
      },
    },
    post: {
      summary: 'Look for what is wrong with the store, and repair it where that is asked for.',
      requestBody: { content: { 'application/json': { schema: ref('ScrubRequest') } } },
      responses: {
        202: report('It runs.', { Location: { description: 'Its report.', schema: text } }),
        ...problems(400, ...guarded, 409, 413, 500, 503),
      },
    },
  },
  '/v1/usage': {
    get: {
      summary: 'What of the storage is used by what, in all and by name; at most 5 s old.',
      parameters: [limit, next],
      responses: { 200: json('A page.', 'Usage'), ...problems(400, ...guarded, 500, 503) },
    },
  },
  '/v1/scrub/{id}': {
    get: {
      summary: 'The report of a scrub, as it stands.',
      parameters: [path('id', scrubId)],
      responses: { 200: report('The report.'), ...problems(400, ...guarded, 404, 500, 503) },
    },
    delete: {
      summary: 'Cancel a scrub that runs, or remove the report of one that has ended.',
      parameters: [path('id', scrubId)],
      responses: {
        204: { description: 'It stops within seconds, or its report is gone.' },
        ...problems(400, ...guarded, 404, 500, 503),
      },
    },
  },
}
