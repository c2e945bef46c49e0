// What the tests of every package need: the conformance suite, a backend in memory, images, and a
// web server that misbehaves.

export * from './certificates.ts'
export * from './conformance.ts'
export * from './images.ts'
export * from './memory.ts'
export * from './packed.ts'
export * from './web-proxy.ts'
export * from './web.ts'
export * from './sharing.ts'
