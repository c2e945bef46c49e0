// A bucket of an S3 server as the place of a store (./place.js): what really lies in it, unfinished
// multipart uploads too, asked of the server itself.

import { createRequire } from 'node:module'
import { join } from 'node:path'
import { root } from '../machine.js'
import { corruptKeys, looseEnds } from './loose-ends.js'
import { foreignContent, foreignFolder } from './place.js'

// The SDK prints a notice about versions of Node otherwise.
process.env.AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED = 'true'
const {
  CreateBucketCommand,
  GetObjectCommand,
  ListMultipartUploadsCommand,
  ListObjectsV2Command,
  PutObjectCommand,
  S3Client,
} = createRequire(join(root, 'packages/backend-s3/package.json'))('@aws-sdk/client-s3')

/** What a dead process had sent may wait in the server for longer than its connection lives. */
const afterlifeMs = 2000

export class BucketPlace {
  #client
  #bucket
  #foreignTag
  folder = undefined
  provesDeath = false
  afterlifeMs = afterlifeMs

  /** `server`: {endpoint, accessKey, secretKey}. `make` before the first use. */
  constructor(server, bucket) {
    const { endpoint, accessKey, secretKey } = server
    this.#bucket = bucket
    this.#client = new S3Client({
      endpoint,
      region: 'us-east-1',
      forcePathStyle: true,
      requestChecksumCalculation: 'WHEN_REQUIRED',
      responseChecksumValidation: 'WHEN_REQUIRED',
      credentials: { accessKeyId: accessKey, secretAccessKey: secretKey },
    })
    this.env = {
      STORAGE_BACKEND_TYPE: 's3',
      S3_ENDPOINT: endpoint,
      S3_ACCESS_KEY: accessKey,
      S3_SECRET_KEY: secretKey,
      S3_BUCKET: bucket,
    }
  }

  async make() {
    await this.#client.send(new CreateBucketCommand({ Bucket: this.#bucket }))
    return this
  }

  async plantForeign() {
    const Key = `${foreignFolder}/backing`
    const put = { Bucket: this.#bucket, Key, Body: foreignContent }
    this.#foreignTag = (await this.#client.send(new PutObjectCommand(put))).ETag
  }

  async foreignFaults() {
    const found = await this.#objects()
    const isSame = found.get(`${foreignFolder}/backing`)?.tag === this.#foreignTag
    return isSame ? [] : [`${foreignFolder} was touched, and is not ours.`]
  }

  /** What must not be there when nobody works but on the ingests in `busy`, `<name>-<uuid>` each. */
  async leftovers(livingMost, busy = []) {
    const objects = await this.#objects()
    const sizes = new Map([...objects].map(([key, { size }]) => [key, size]))
    const keys = [...sizes.keys()].filter((key) => key.startsWith('.catalog/'))
    const records = (await Promise.all(keys.map((key) => this.read(key)))).filter(Boolean)
    const marks = await Promise.all(
      corruptKeys([...sizes.keys()]).map(async (key) => [key, await this.read(key)]),
    )
    const corrupt = new Map(marks.filter(([, mark]) => mark !== undefined))
    const unfinished = await this.unfinished()
    return [
      ...looseEnds({ sizes, records, corrupt, foreign: [foreignFolder], busy }),
      ...unfinished
        .filter((key) => !busy.includes(key.split('/')[0]))
        .map((key) => `A multipart upload of ${key} is unfinished.`),
    ]
  }

  async keys() {
    return [...(await this.#objects()).keys()]
  }

  /** The keys of unfinished multipart uploads. */
  async unfinished() {
    const found = []
    let more = {}
    do {
      const page = await this.#client.send(
        new ListMultipartUploadsCommand({ Bucket: this.#bucket, ...more }),
      )
      found.push(...(page.Uploads ?? []).map(({ Key }) => Key))
      more = page.IsTruncated && {
        KeyMarker: page.NextKeyMarker,
        UploadIdMarker: page.NextUploadIdMarker,
      }
    } while (more)
    return found
  }

  /** Its server is thrown away with everything in it. */
  async remove() {
    this.#client.destroy()
  }

  async #objects() {
    const found = new Map()
    let token
    do {
      const page = await this.#client.send(
        new ListObjectsV2Command({ Bucket: this.#bucket, ContinuationToken: token }),
      )
      for (const { Key, Size, ETag } of page.Contents ?? [])
        found.set(Key, { size: Size, tag: ETag })
      token = page.NextContinuationToken
    } while (token)
    return found
  }

  /** A small JSON object; undefined where there is none. */
  async read(key) {
    try {
      return JSON.parse(Buffer.from(await this.#get(key)).toString())
    } catch (error) {
      if (error.name === 'NoSuchKey') return undefined
      throw error
    }
  }

  /** Changes one byte of what is stored. */
  async damage(key, at) {
    const bytes = await this.#get(key)
    bytes[at] ^= 1
    await this.plant(key, bytes)
  }

  async plant(key, content) {
    await this.#client.send(new PutObjectCommand({ Bucket: this.#bucket, Key: key, Body: content }))
  }

  /** The server tells the ages. */
  makeOld() {
    return false
  }

  async #get(key) {
    const get = new GetObjectCommand({ Bucket: this.#bucket, Key: key })
    const { Body } = await this.#client.send(get)
    return await Body.transformToByteArray()
  }
}
