// The room of Longhorn: its API, its rules, its manifests.

export * from './client.ts'
export { LonghornError } from './failure.ts'
export * from './name.ts'
export type { DiskFile, LonghornImage, OverallState } from './resource.ts'
export { overallState } from './resource.ts'
export * from './watch.ts'
export * from './manifest.ts'
export * from './storage-class.ts'
export * from './preflight.ts'
