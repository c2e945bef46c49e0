// The front door of the engine: re-exports, nothing else.

export * from './backend.ts'
export * from './errors.ts'
export * from './layout.ts'
