// What a request of a sender says: its numbers, checked, and the text of its answer.

import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Interval } from './intervals.ts'
import { Refusal } from './refusal.ts'

/** What a request asks for. */
export interface Asked {
  /** The last part of its path; undefined where it is none of a sender's. */
  verb: string | undefined
  query: URLSearchParams
}

const prefix = '/v1-ssync/'
/** The unit of direct I/O (contract §2.7). */
const directBytes = 4096
const trues = new Set(['1', 't', 'T', 'TRUE', 'true', 'True'])
const falses = new Set(['0', 'f', 'F', 'FALSE', 'false', 'False'])

export function askedBy(request: IncomingMessage): Asked {
  const url = request.url ?? ''
  const [path = ''] = url.split('?', 1)
  const verb = path.startsWith(prefix) ? path.slice(prefix.length) : undefined
  return { verb, query: new URLSearchParams(url.slice(path.length)) }
}

/** Throws a Refusal unless `begin` and `end` are there and say one. */
export function intervalOf(query: URLSearchParams): Interval {
  const begin = numberOf(query, 'begin')
  const end = numberOf(query, 'end')
  if (begin <= end) return { begin, end }
  throw new Refusal(`begin=${begin} is after end=${end}.`)
}

/** How large the file will be, in bytes. Throws a Refusal. */
export function sizeOf(query: URLSearchParams): number {
  const isDirect = directIoOf(query)
  const { end } = intervalOf(query)
  if (!isDirect || end % directBytes === 0) return end
  throw new Refusal(
    `directIO needs a size that is a multiple of ${directBytes}; end=${end} is none.`,
  )
}

function numberOf(query: URLSearchParams, name: string): number {
  const text = query.get(name) ?? ''
  const number = Number(text)
  if (/^[0-9]{1,20}$/.test(text) && Number.isSafeInteger(number)) return number
  throw new Refusal(
    `${name} must be a decimal number of bytes, not ${JSON.stringify(text.slice(0, 40))}.`,
  )
}

function directIoOf(query: URLSearchParams): boolean {
  const text = query.get('directIO') ?? ''
  if (trues.has(text)) return true
  if (falses.has(text)) return false
  throw new Refusal(`directIO must be true or false, not ${JSON.stringify(text.slice(0, 40))}.`)
}

/** As `http.Error` of Go's library answers (contract §2.1). */
export function refuse(response: ServerResponse, status: number, text: string): void {
  response.writeHead(status, {
    'content-type': 'text/plain; charset=utf-8',
    'x-content-type-options': 'nosniff',
    // What is left of the body is not read.
    connection: 'close',
  })
  response.end(`${text}\n`)
}

export function answerJson(response: ServerResponse, value: unknown): void {
  response.writeHead(200, { 'content-type': 'application/json' })
  response.end(JSON.stringify(value))
}
