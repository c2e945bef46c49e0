// What there is in a bucket: pages of a list as one, and the contents of small objects with it.

import { ListObjectsV2Command, type _Object } from '@aws-sdk/client-s3'
import { type Scanned, type Stat, assertKey, exclusiveBytesMax } from '@backing-image/core'
import { orUndefined, readAll } from '@backing-image/core'
import pLimit from 'p-limit'
import type { Bucket } from './bucket.ts'
import { readObject } from './read.ts'

const readsMax = 32
/** How many objects of a scan are read or being read, and not yet given. */
const aheadMax = 64
const nanosecondsPerSecond = 1_000_000_000n

export async function* listObjects(bucket: Bucket, prefix: string): AsyncGenerator<Stat> {
  const what = prefix === '' ? 'list the bucket' : `list ${prefix}`
  let token: string | undefined
  do {
    const command = new ListObjectsV2Command({
      Bucket: bucket.name,
      Prefix: `${bucket.prefix}${prefix}`,
      ...(token === undefined ? {} : { ContinuationToken: token }),
    })
    const page = await bucket.send(command, { what })
    for (const object of page.Contents ?? []) {
      const stat = toStat(bucket, object)
      if (stat) yield stat
    }
    token = page.IsTruncated ? page.NextContinuationToken : undefined
  } while (token !== undefined)
}

/** Undefined for what is no key of ours: temporaries, and what others have put here. */
function toStat(bucket: Bucket, object: _Object): Stat | undefined {
  const key = object.Key?.slice(bucket.prefix.length) ?? ''
  try {
    assertKey(key)
  } catch {
    return undefined
  }
  const modifiedAt = secondOf(object.LastModified)
  return { key, size: object.Size ?? 0, tag: object.ETag ?? '', modifiedAt }
}

/** Headers tell whole seconds, lists may tell more: all are to say the same of one object. */
export function secondOf(date: Date | undefined): bigint {
  return BigInt(Math.floor((date?.getTime() ?? 0) / 1000)) * nanosecondsPerSecond
}

/** See Scan: those whose tag is known, and large ones, without their content. */
export async function* scanObjects(
  bucket: Bucket,
  prefix: string,
  known: ReadonlyMap<string, string>,
): AsyncGenerator<Scanned> {
  const limit = pLimit(readsMax)
  const ahead: Promise<Scanned>[] = []
  for await (const stat of listObjects(bucket, prefix)) {
    if (known.get(stat.key) === stat.tag || stat.size > exclusiveBytesMax) {
      yield { stat }
      continue
    }
    const reading = limit(() => readSmall(bucket, stat))
    // Its failure is told when its turn has come.
    reading.catch(() => {})
    ahead.push(reading)
    const first = ahead.length >= aheadMax ? await ahead.shift() : undefined
    if (first) yield first
  }
  for (const reading of ahead) yield await reading
}

/** The content as it is now, which may be newer than the list; none where it is gone. */
async function readSmall(bucket: Bucket, stat: Stat): Promise<Scanned> {
  const bytes = await orUndefined(readObject(bucket, stat.key, {}))
  return bytes ? { stat, content: await readAll(bytes) } : { stat }
}
