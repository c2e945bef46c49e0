// For tests of what must survive a bad S3 server.

export * from './fake.ts'
export type * from './faults.ts'
export type * from './request.ts'
export { type StoredObject, type StoredUpload } from './medium.ts'
