// The front door of the engine: re-exports, nothing else.

export * from './backend.ts'
export * from './errors.ts'
export * from './checksum.ts'
export * from './format.ts'
export * from './hasher.ts'
export * from './layout.ts'
