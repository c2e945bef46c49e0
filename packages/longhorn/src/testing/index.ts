// What tests of other rooms need of this one.

export * from './stand-in.ts'
