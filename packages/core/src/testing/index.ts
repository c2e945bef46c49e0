// What the tests of every package need: the conformance suite, a backend in memory, and images.

export * from './conformance.ts'
export * from './images.ts'
export * from './memory.ts'
