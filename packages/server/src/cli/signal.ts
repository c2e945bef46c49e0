// How a program that runs until it is told otherwise is told: SIGTERM, or Ctrl-C.

import type { Terminal } from './terminal.ts'

/** Ctrl-C reaches every process of a terminal, and npm and its like pass it on once more. */
const sameSignalMs = 300

/** Resolves at the first SIGTERM or SIGINT; the second ends the process. */
export function firstSignal(terminal: Terminal): Promise<void> {
  return new Promise((resolve) => {
    let firstAtMs: number | undefined
    terminal.onSignal(() => {
      firstAtMs ??= performance.now()
      if (performance.now() - firstAtMs > sameSignalMs) terminal.abort()
      resolve()
    })
  })
}
