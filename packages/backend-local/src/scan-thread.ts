// The thread of scan.ts: walks a folder and reads its small files, a batch at a time.

import fs from 'node:fs'
import { join } from 'node:path'
import { parentPort } from 'node:worker_threads'
import { type Scanned, exclusiveBytesMax } from '@backing-image/core'
import { readFlags } from './commit.ts'
import { errnoOf } from './disk.ts'
import { isListed, toStat } from './list.ts'
import type { ScanOrder, ScanReply } from './scan.ts'

const batchLengthMax = 256
const batchBytesMax = 1024 * 1024
/** A slow medium shows that it gets on. */
const batchTimeMaxMs = 1000
const staleTriesMax = 10

const scans = new Map<number, Generator<Scanned>>()

parentPort?.on('message', (order: ScanOrder) => {
  if (order.kind === 'stop') {
    scans.delete(order.id)
    return
  }
  if (order.kind === 'scan') scans.set(order.id, walk(order.root, order.prefix, order.known))
  const reply = next(order.id)
  if (reply.isLast) scans.delete(order.id)
  parentPort?.postMessage(reply)
})

function next(id: number): ScanReply {
  const batch: Scanned[] = []
  const endsAtMs = performance.now() + batchTimeMaxMs
  try {
    const scan = scans.get(id)
    for (let bytes = 0; batch.length < batchLengthMax && bytes < batchBytesMax;) {
      if (performance.now() > endsAtMs) break
      const step = scan?.next()
      if (!step || step.done) return { id, batch, isLast: true }
      bytes += step.value.content?.length ?? 0
      batch.push(step.value)
    }
    return { id, batch, isLast: false }
  } catch (error) {
    const { message, path } = error as NodeJS.ErrnoException
    const failure = { code: errnoOf(error) ?? 'EIO', message, path: path ?? '' }
    return { id, batch, isLast: true, failure }
  }
}

function* walk(
  root: string,
  prefix: string,
  known: ReadonlyMap<string, string>,
): Generator<Scanned> {
  const entries = unlessGone(() =>
    fs.readdirSync(join(root, prefix.slice(0, -1)), { withFileTypes: true }),
  )
  for (const entry of entries ?? []) {
    if (!isListed(prefix, entry)) continue
    const key = prefix + entry.name
    if (entry.isDirectory()) {
      yield* walk(root, `${key}/`, known)
      continue
    }
    const scanned = unlessGone(() => read(join(root, key), key, known.get(key)))
    if (scanned) yield scanned
  }
}

function read(path: string, key: string, tag: string | undefined): Scanned | undefined {
  if (tag !== undefined) {
    const stats = fs.lstatSync(path, { bigint: true })
    const stat = toStat(key, stats)
    if (stat.tag === tag) return { stat }
    if (!stats.isFile()) return undefined
  }
  const file = fs.openSync(path, readFlags)
  try {
    const stats = fs.fstatSync(file, { bigint: true })
    if (!stats.isFile()) return undefined
    const stat = toStat(key, stats)
    if (stat.size > exclusiveBytesMax) return { stat }
    const content = new Uint8Array(stat.size)
    let length = 0
    while (length < content.length) {
      const got = fs.readSync(file, content, length, content.length - length, length)
      if (got === 0) break
      length += got
    }
    // Cut meanwhile by somebody: whoever wants it reads it again.
    return length === content.length ? { stat, content } : { stat }
  } finally {
    fs.closeSync(file)
  }
}

/** What vanishes meanwhile, or is a link of somebody else, is not there. */
function unlessGone<T>(work: () => T): T | undefined {
  for (let tries = 1; ; tries += 1) {
    try {
      return work()
    } catch (error) {
      const errno = errnoOf(error) ?? ''
      if (['ENOENT', 'ENOTDIR', 'ELOOP'].includes(errno)) return undefined
      // An NFS client remembers what another has removed or replaced; the next look-up asks the server.
      if (errno !== 'ESTALE' || tries === staleTriesMax) throw error
    }
  }
}
