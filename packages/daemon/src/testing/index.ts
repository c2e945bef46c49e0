// What tests of other packages may use of this one.

export { type DaemonHere, startDaemonHere } from './daemon.ts'
export { MemoryFiles } from './memory-files.ts'
