// The peer of bench/s3.js: the client code of backend-s3 without a server, told by messages to send a
// file to the bucket of its environment and to fetch it again; and the same by lib-storage.

import { createReadStream, createWriteStream } from 'node:fs'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { S3Backend } from '../packages/backend-s3/dist/index.js'
import {
  CreateBucketCommand,
  S3Client,
} from '../packages/backend-s3/node_modules/@aws-sdk/client-s3/dist-cjs/index.js'
import { Upload } from '../packages/backend-s3/node_modules/@aws-sdk/lib-storage/dist-cjs/index.js'

const { S3_ENDPOINT: endpoint, S3_BUCKET: bucket } = process.env
const { S3_ACCESS_KEY: accessKey, S3_SECRET_KEY: secretKey } = process.env
const key = 'direct/backing'
/** As backend-s3 has them. */
const partSize = 8 * 2 ** 20
const queueSize = 3
const client = new S3Client({
  endpoint,
  credentials: { accessKeyId: accessKey, secretAccessKey: secretKey },
  region: 'us-east-1',
  forcePathStyle: true,
  requestChecksumCalculation: 'WHEN_REQUIRED',
  responseChecksumValidation: 'WHEN_REQUIRED',
})
let backend

const orders = {
  async make() {
    await client.send(new CreateBucketCommand({ Bucket: bucket }))
    backend = await S3Backend.open({ endpoint, bucket, accessKey, secretKey, region: 'us-east-1' })
  },
  async up(file) {
    await backend.put(key, createReadStream(file, { highWaterMark: 2 ** 20 }))
  },
  async 'up by lib-storage'(file) {
    const params = { Bucket: bucket, Key: 'lib-storage/backing', Body: createReadStream(file) }
    await new Upload({ client, params, partSize, queueSize }).done()
  },
  async down(file) {
    await pipeline(Readable.from(await backend.get(key)), createWriteStream(file))
  },
}

process.on('message', ({ what, file }) => {
  orders[what](file).then(
    () => process.send({}),
    (error) => process.send({ error: error.stack }),
  )
})
process.send({})
