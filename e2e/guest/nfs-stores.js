// What the cases of nfs-cases.js are written in: stores on both clients of the guest, and mounts.

import { execFileSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, readFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import * as assert from 'uvu/assert'
import { NfsBackend } from '../../packages/backend-nfs/dist/index.js'
import { isImageError } from '../../packages/core/dist/index.js'

export async function refused(code, work) {
  const error = await work.then(
    () => undefined,
    (thrown) => thrown,
  )
  assert.ok(error, `expected ${code}, and it succeeded`)
  assert.ok(isImageError(error, code), `expected ${code}, found ${error}`)
  return error
}

/** A fresh folder of the export, as both clients have it. */
export function freshStore() {
  const one = mkdtempSync('/mnt/nfs/store-')
  return { one, two: join('/mnt/nfs2', basename(one)) }
}

export function mountPoints() {
  return readFileSync('/proc/self/mountinfo', 'utf8')
    .split('\n')
    .map((line) => line.split(' ')[4])
}

export function mount(source, path, options) {
  mkdirSync(path, { recursive: true })
  execFileSync('mount', ['-t', 'nfs', '-o', options, source, path])
}

export async function withBackends(options, test) {
  const opened = []
  try {
    for (const each of options) opened.push(await NfsBackend.open(each))
    await test(...opened)
  } catch (error) {
    // The end of what went wrong may go wrong too.
    console.log(error)
    throw error
  } finally {
    for (const each of opened) await each.close()
  }
}

export async function keys(backend, prefix = '') {
  const found = []
  for await (const { key } of backend.list(prefix)) found.push(key)
  return found
}
