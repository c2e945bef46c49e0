// Images that come from URLs while their servers are killed and stopped, in a bucket of Swift: it can not
// create exclusively, and so has one server at a time.
//
//   node scripts/test.js e2e/pulls-swift.test.js

import { join } from 'node:path'
import { BucketPlace } from './durability/bucket-place.js'
import { freshFolder } from './machine.js'
import { testPulls } from './pulls/cases.js'
import { freePorts } from './servers/servers.js'
import { startSwift } from './servers/swift.js'

const { path: folder, remove } = freshFolder()
process.on('exit', remove)

let swift
testPulls('pulls on Swift', {
  sizes: { size: 72, slowFrom: 52, durable: 24 },
  acts: ['killed', 'stopped', 'deleted'],
  async open() {
    swift = await startSwift({ port: await freePorts(5), folder: join(folder, 'Swift') })
    return async (bucket) => {
      const place = await new BucketPlace(swift, bucket).make()
      Object.assign(place.env, { S3_SINGLE_WRITER: 'true' })
      return [place, place]
    }
  },
  close: () => swift?.stop(),
})
