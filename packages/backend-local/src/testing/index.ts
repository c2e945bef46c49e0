// For tests of what must survive a bad disk: calls that fail or hang, and power cuts.

export * from './hooked.ts'
export * from './recorder.ts'
export * from './crash.ts'
export * from './folder.ts'
export * from './hanging.ts'
