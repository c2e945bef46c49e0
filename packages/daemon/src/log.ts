// Where the daemon tells its operator what it does. The server brings the one that writes.

/** One line each: what it is about, then a sentence. pino's Logger is one. */
export interface Log {
  info(about: object, text: string): void
  warn(about: object, text: string): void
  error(about: object, text: string): void
}
