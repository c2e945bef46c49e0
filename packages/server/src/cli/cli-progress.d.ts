// The little that we use of cli-progress, which comes without types.

declare module 'cli-progress' {
  export interface Options {
    stream: NodeJS.WritableStream
    format: string
    fps?: number
    linewrap?: boolean
    hideCursor?: boolean
    formatValue?(value: number, options: unknown, kind: string): string
  }
  export class SingleBar {
    constructor(options: Options)
    start(total: number, value: number): void
    increment(step: number): void
    update(value: number): void
    stop(): void
  }
}
