// What the routes in /openapi.json are written in.

import type { Schema } from './openapi-schemas.ts'

export type Responses = Record<string, object>

export const ref = (name: string): Schema => ({ $ref: `#/components/schemas/${name}` })

export function json(description: string, schema: string, headers: object = {}): object {
  return { description, headers, content: { 'application/json': { schema: ref(schema) } } }
}

/** The errors of an operation, all of one shape. */
export function problems(...statuses: number[]): Responses {
  return Object.fromEntries(
    statuses.map((status) => [String(status), { $ref: '#/components/responses/Problem' }]),
  )
}

export function query(name: string, schema: Schema, description: string): object {
  return { name, in: 'query', schema, description }
}

export function path(name: string, schema: Schema = { type: 'string' }): object {
  return { name, in: 'path', required: true, schema }
}

export function header(name: string, description: string): object {
  return { name, in: 'header', schema: { type: 'string' }, description }
}

/** Of what a sync reads. */
export const syncHeader: object = header(
  'X-Sync-Id',
  'Of a sync: at most SYNC_SENDING_LIMIT different ones an image at a time; a further one is 429.',
)

/** Of all routes that stand behind a token. */
export const guarded: number[] = [401, 403]

export const limit: object = query(
  'limit',
  { type: 'integer', minimum: 1, maximum: 1000, default: 100 },
  'Entries on a page.',
)

export const next: object = query('continue', { type: 'string' }, 'From the page before.')
