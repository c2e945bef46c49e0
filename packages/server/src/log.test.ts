import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { createLog } from './log.ts'

const log = suite('log')

function linesOf(level: 'debug' | 'info' | 'warn' | 'error') {
  const lines: string[] = []
  return { lines, logger: createLog(level, { write: (line) => lines.push(line) }) }
}

log('a line is one JSON object with its level by name and the time in ISO 8601', () => {
  const { lines, logger } = linesOf('info')
  logger.info({ name: 'debian' }, 'stored')
  const line: Record<string, unknown> = JSON.parse(lines[0] ?? '')
  assert.is(line['level'], 'info')
  assert.is(line['msg'], 'stored')
  assert.match(String(line['time']), /^\d{4}-\d\d-\d\dT.*Z$/)
})

log('lines below the level are not written', () => {
  const { lines, logger } = linesOf('warn')
  logger.info('quiet')
  assert.is(lines.length, 0)
})

log('no line holds a credential', () => {
  const { lines, logger } = linesOf('debug')
  const headers = { authorization: 'Bearer hidden', cookie: 'hidden', host: 'seen' }
  logger.info({ headers, request: { headers }, authorization: 'hidden', token: 'hidden' })
  logger.warn({ error: { request: { headers } } })
  assert.not.match(lines.join(''), 'hidden')
  assert.match(lines.join(''), 'seen')
})

log.run()
