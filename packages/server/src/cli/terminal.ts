// What a command may use of its process, so that none reaches for it behind our back.

import type { Readable, Writable } from 'node:stream'
import type { Environment } from '../config.ts'

export type Output = Writable & { isTTY?: boolean }

export interface Terminal {
  /** Of this program. */
  version: string
  /** What it was built from, and when; empty where package.json does not tell. */
  gitCommit: string
  buildDate: string
  env: Environment
  stdin: Readable
  stdout: Output
  stderr: Output
  /** Tells whoever started this process where the server listens. */
  announce(url: string): void
  /** Calls back at each SIGTERM and SIGINT, which then no longer end the process. */
  onSignal(listener: () => void): void
  /** Ends the process at once. */
  abort(): void
}

/** A command that could not do what it was asked for: one line that says what to do now. */
export class CommandError extends Error {
  override readonly name: string = 'CommandError'
}

/** A command that was asked in the wrong way: exit code 2. */
export class UsageError extends CommandError {
  override readonly name = 'UsageError'
}
