// A disk of Longhorn's in a folder, with its file service on a port of this machine, for tests: requests
// as text, states that are waited for, and calls of the file system that fail on demand.

import { createHash, randomBytes } from 'node:crypto'
import { mkdir, readFile, readdir, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { openDisk } from '@backing-image/backend-local'
import { FaultyDisk, openFiles, withFolder } from '@backing-image/backend-local/testing'
import { AddressRules, Fetcher, Hasher } from '@backing-image/core'
import * as assert from 'uvu/assert'
import { confined } from '../confined.ts'
import { Disk } from '../disk.ts'
import type { FileInfo } from '../file-info.ts'
import { startHttp } from '../http.ts'
import type { Launch } from '../image-files.ts'
import { imagePath, sourcePath } from '../paths.ts'
import { createSyncApp } from '../sync-routes.ts'
import { Lines } from './memory-files.ts'

export interface Answer {
  status: number
  text: string
  headers: Headers
  body: Buffer
}

export interface DiskRig {
  root: string
  disk: Disk
  log: Lines
  /** Fails what the test wants to fail. */
  faulty: FaultyDisk
  /** http://127.0.0.1:port */
  url: string
  ask: (method: string, path: string, body?: RequestInit['body']) => Promise<Answer>
  /** Waits for one of these states, and tells all that were seen. */
  until: (path: string, ...states: string[]) => Promise<FileInfo>
  /** All files under the root, sorted, without it. */
  left: () => Promise<string[]>
}

export const imageName = 'debian-12'
export const imageUuid = '0123abcd'

/** Runs a claim with a disk of its own; afterwards no file of it may be open. */
export function withDisk(
  claim: (rig: DiskRig) => Promise<void>,
  { beginTimeoutMs = 60_000 }: { beginTimeoutMs?: number } = {},
): () => Promise<void> {
  return () =>
    withFolder(async (root) => {
      const hasher = new Hasher()
      const faulty = new FaultyDisk()
      const log = new Lines()
      const rules = new AddressRules({ allow: ['127.0.0.0/8'] })
      const fetcher = new Fetcher({ rules, idleTimeoutMs: 10_000 })
      const place = { root, disk: confined(openDisk(root, {}, faulty.disk), root), hasher }
      const disk = new Disk({ place, log, fetcher, beginTimeoutMs })
      await writeFile(join(root, 'longhorn-disk.cfg'), '{"diskUUID":"disk-1"}')
      const listening = await startHttp(createSyncApp(disk), { host: '127.0.0.1', port: 0 }, log)
      const url = `http://127.0.0.1:${listening.port}`
      try {
        await claim({
          root,
          disk,
          log,
          faulty,
          url,
          ask: async (method, path, body) => await askOf(url + path, method, body),
          until: async (path, ...states) => await untilOf(disk, path, states),
          left: async () => await leftOf(root),
        })
      } finally {
        faulty.failWhen()
        await listening.close()
        await disk.close()
        await hasher.close()
        fetcher.close()
      }
      await eventually('no file is open', async () => (await openFiles(root)).length === 0)
    })
}

export async function askOf(
  url: string,
  method: string,
  body?: RequestInit['body'],
): Promise<Answer> {
  const isStream = body instanceof ReadableStream
  const response = await fetch(url, {
    method,
    redirect: 'manual',
    ...(body !== undefined && { body }),
    ...(isStream && { duplex: 'half' }),
  })
  const bytes = Buffer.from(await response.arrayBuffer())
  const { status, headers } = response
  return { status, text: bytes.toString('utf8'), headers, body: bytes }
}

async function untilOf(disk: Disk, path: string, states: string[]): Promise<FileInfo> {
  let found: FileInfo | undefined
  await eventually(`${path} is ${states.join(' or ')}`, async () => {
    // An upload is known only when its head has been read.
    found = (await disk.list()).find((each) => each.filePath === path)
    if (found === undefined || states.includes(found.state)) return found !== undefined
    if (found.state === 'failed') throw new Error(`It has failed: ${found.message}`)
    return false
  })
  assert.ok(found)
  return found
}

async function leftOf(root: string): Promise<string[]> {
  const entries = await readdir(root, { recursive: true, withFileTypes: true })
  const files = entries.filter((each) => !each.isDirectory() && each.name !== 'longhorn-disk.cfg')
  return files.map((each) => join(each.parentPath, each.name).slice(root.length + 1)).toSorted()
}

export async function eventually(what: string, check: () => Promise<boolean>): Promise<void> {
  const endsAtMs = performance.now() + 10_000
  while (!(await check())) {
    if (performance.now() > endsAtMs) throw new Error(`It has not come about: ${what}`)
    await new Promise((done) => setTimeout(done, 3))
  }
}

/** What a promise rejects with. */
export async function failureOf(work: Promise<unknown>): Promise<Error> {
  return await work.then(
    () => assert.unreachable('It was no failure.') as never,
    (error: unknown) => error as Error,
  )
}

/** A launch of the usual image, or of the source of it. */
export function launchOf({ root }: DiskRig, changes: Partial<Launch> = {}): Launch {
  return {
    path: imagePath(root, imageName, imageUuid),
    uuid: imageUuid,
    diskUuid: 'disk-1',
    expectedChecksum: '',
    size: 0,
    dataEngine: '',
    ...changes,
  }
}

export function pathOf({ root }: DiskRig): string {
  return imagePath(root, imageName, imageUuid)
}

export function sourceOf({ root }: DiskRig): string {
  return sourcePath(root, imageName, imageUuid)
}

/** Writes a file with its folders. */
export async function put(path: string, content: Uint8Array | string): Promise<void> {
  await mkdir(dirname(path), { recursive: true })
  await writeFile(path, content)
}

export function sha512(content: Uint8Array): string {
  return createHash('sha512').update(content).digest('hex')
}

/** Bytes that are no format. */
export function anyBytes(sizeBytes: number): Buffer {
  const bytes = randomBytes(sizeBytes)
  bytes.fill('raw', 0, Math.min(sizeBytes, 16))
  return bytes
}

/** Bytes as a source gives them, in pieces of that size. */
export async function* piecesOf(
  content: Uint8Array,
  pieceBytes: number = 65_536,
): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < content.length; at += pieceBytes) {
    yield Uint8Array.from(content.subarray(at, at + pieceBytes))
  }
}

/** Stores a file by way of an upload. */
export async function store(
  rig: DiskRig,
  content: Uint8Array,
  changes: Partial<Launch> = {},
): Promise<void> {
  const launch = launchOf(rig, { size: content.length, ...changes })
  await rig.disk.upload(launch, async () => piecesOf(content))
}

/** What is read from a config. */
export async function configOf(path: string): Promise<Record<string, unknown>> {
  return JSON.parse(await readFile(`${path}.cfg`, 'utf8')) as Record<string, unknown>
}
