// The progress of a transfer, on stderr and only where somebody watches.

import { SingleBar } from 'cli-progress'
import { formatSize } from '../quantity.ts'
import type { Terminal } from './terminal.ts'

export interface Progress {
  add(lengthBytes: number): void
  /** Leaves the line; any number of times. */
  stop(): void
}

/** `totalBytes` is undefined where nobody knows it; `doneBytes` were there before. */
export function startProgress(
  terminal: Terminal,
  totalBytes: number | undefined,
  doneBytes = 0,
): Progress {
  if (terminal.stderr.isTTY !== true) return { add: () => {}, stop: () => {} }
  const bar = new SingleBar({
    stream: terminal.stderr,
    fps: 5,
    // Otherwise Ctrl-C would leave the terminal without it.
    linewrap: true,
    format:
      totalBytes === undefined
        ? '{value} in {duration} s'
        : '{bar} {percentage}% | {value} of {total} | {eta} s left',
    // Only these two count bytes.
    formatValue: (value, _, kind) =>
      kind === 'value' || kind === 'total' ? formatSize(value) : String(value),
  })
  bar.start(totalBytes ?? 0, doneBytes)
  let isShown = true
  return {
    add: (lengthBytes) => bar.increment(lengthBytes),
    stop: () => {
      if (isShown) bar.stop()
      isShown = false
    },
  }
}
