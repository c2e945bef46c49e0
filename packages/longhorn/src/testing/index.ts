// What tests of other packages need of Longhorn: a stand-in for its API.

export * from './stand-in.ts'
export * from './stand-in-image.ts'
