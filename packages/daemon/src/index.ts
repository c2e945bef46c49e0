// The front door of the daemon: re-exports, nothing else.

export * from './paths.ts'
