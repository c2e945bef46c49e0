// Real disk images through the real server, in a bucket of Swift, which can not create exclusively.
//
//   node scripts/test.js e2e/images-swift.test.js      as root; takes some minutes, makes a Debian once

import { join } from 'node:path'
import { BucketPlace } from './durability/bucket-place.js'
import { makeImages, testImages } from './images/cases.js'
import { freshFolder } from './machine.js'
import { freePorts } from './servers/servers.js'
import { startSwift } from './servers/swift.js'

const { path: folder, remove } = freshFolder()
process.on('exit', remove)
await makeImages(folder)

let swift
testImages('real images on Swift', {
  folder,
  async open() {
    swift = await startSwift({ port: await freePorts(5), folder: join(folder, 'Swift') })
    const { env } = await new BucketPlace(swift, 'images').make()
    return { env: { ...env, S3_SINGLE_WRITER: 'true' } }
  },
  close: () => swift?.stop(),
})
