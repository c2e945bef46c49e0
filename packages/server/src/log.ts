// The log of the server: one JSON object a line, on stdout unless a test wants it elsewhere. No line
// may hold a credential.

import { type DestinationStream, type Logger, pino, stdTimeFunctions } from 'pino'
import type { Config } from './config.ts'

/** Where a request, or an error that carries one, may hold a credential. */
const secretPaths = ['authorization', 'cookie', 'Authorization', 'Cookie'].flatMap((header) => [
  header,
  `headers.${header}`,
  `*.headers.${header}`,
  `*.*.headers.${header}`,
])

export function createLog(level: Config['logLevel'], to?: DestinationStream): Logger {
  const options = {
    level,
    timestamp: stdTimeFunctions.isoTime,
    formatters: { level: (label: string) => ({ level: label }) },
    redact: { paths: [...secretPaths, 'token', '*.token'], censor: '(not shown)' },
  }
  return to === undefined ? pino(options) : pino(options, to)
}
