// An export of a volume as qcow2, which Longhorn gives as raw: the real qemu-img converts it, and finds
// nothing wrong with what was made.
//
//   node scripts/test.js e2e/longhorn-export.test.js

import { execFileSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { statSync, truncateSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { bringing, brought, bytesOf } from '../packages/longhorn/dist/testing/bringing.js'
import { freshFolder, requireTools } from './machine.js'

const { path: folder, remove } = freshFolder()
process.on('exit', remove)
const test = suite('exports as qcow2, by qemu-img')
const mebibyte = 1024 * 1024

function qemuImg(...args) {
  return execFileSync('qemu-img', args, { encoding: 'utf8' })
}

test.before(() => requireTools('qemu-img'))

for (const [what, beginning] of [
  ['a disk', Buffer.alloc(512)],
  // What a tool that looks for itself would take for a descriptor of other files.
  ['a disk with words at its start', Buffer.from('#!/bin/sh\nrw 1 FLAT "/etc/passwd" 0\n')],
]) {
  test(
    `${String(what)} of 200 MiB, of which 3 are data, becomes a small image with the same content`,
    bringing(async ({ standIn, open }) => {
      const disk = Buffer.alloc(200 * mebibyte)
      beginning.copy(disk)
      randomBytes(3 * mebibyte).copy(disk, 100 * mebibyte)
      standIn.volumes.set('data', disk)
      const store = await open()
      const parameters = { 'volume-name': 'data', 'export-type': 'qcow2' }
      const image = await brought(store, 'golden', { sourceType: 'export-from-volume', parameters })
      assert.equal([image.state, image.format], ['ready', 'qcow2'], image.message)
      assert.is(image.virtualSize, disk.length)
      const [raw, made] = [join(folder, 'raw'), join(folder, 'made')]
      writeFileSync(raw, disk.subarray(0, 104 * mebibyte))
      truncateSync(raw, disk.length)
      writeFileSync(made, await bytesOf(store, 'golden'))
      assert.ok(statSync(made).size < 5 * mebibyte)
      assert.match(qemuImg('check', '-f', 'qcow2', made), 'No errors')
      assert.match(qemuImg('compare', '-f', 'raw', '-F', 'qcow2', raw, made), 'identical')
    }),
  )
}

test.run()
