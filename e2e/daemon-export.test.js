// What a data source makes of the format: plain bytes for the second engine, qcow2 for who exports a volume as
// such (contract §3.7), by the real qemu-img.
//
//   node scripts/test.js e2e/daemon-export.test.js

import { execFileSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { open, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { qcow2Image } from '../packages/core/dist/testing/index.js'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { sendFile } from '../packages/daemon/dist/ssync/sender.js'
import { anyBytes, put, sha512, sourceOf } from '../packages/daemon/dist/testing/disk-rig.js'
import { formOf, withSource } from '../packages/daemon/dist/testing/source-rig.js'
import { extentsOf } from '../packages/daemon/dist/ssync/extents.js'
import { freePort, freshFolder, requireTools } from './machine.js'

const sources = suite('data sources that convert')
const { path: folder, remove } = freshFolder()
process.on('exit', remove)
const mebibyte = 1024 * 1024
const content = anyBytes(700 * 1024)

sources.before(() => requireTools('qemu-img'))

sources(
  'for the second engine make plain bytes of an upload, whose checksum is that of those',
  withSource({ parameters: { 'data-engine': 'v2' } }, async ({ ask, until }, rig) => {
    const bytes = qcow2Image()
    const query = `?action=upload&size=${bytes.length}`
    assert.is((await ask('POST', query, formOf(bytes))).status, 200)
    const info = await until('ready-for-transfer')
    const plain = Buffer.alloc(1024 * 1024)
    assert.equal([info.size, info.virtualSize], [plain.length, plain.length])
    assert.is(info.currentChecksum, sha512(plain))
    assert.ok((await readFile(sourceOf(rig))).equals(plain))
    assert.is((await rig.left()).length, 2)
  }),
)

/** A source whose replica sends these bytes when it is asked to. */
async function exportOf(rig, volume, format) {
  const from = join(rig.root, 'replica')
  await put(from, volume)
  return {
    sourceType: 'export-from-volume',
    exportPort: await freePort(),
    parameters: {
      'snapshot-name': 's',
      'sender-address': '10.0.0.1:10000',
      'volume-size': String(volume.length),
      ...format,
    },
    requestExport: async ({ port, senderAddress, snapshotName, timeoutSeconds }) => {
      assert.equal([senderAddress, snapshotName, timeoutSeconds], ['10.0.0.1:10000', 's', 60])
      const { signal } = new AbortController()
      const { disk } = rig.disk.place
      await sendFile({ path: from, disk, address: `127.0.0.1:${port}`, signal })
    },
  }
}

for (const [key, volume] of [
  ['file-type', content],
  ['export-type', Buffer.alloc(1024 * 1024)],
]) {
  sources(
    `export a volume as qcow2 where ${String(key)} says so, in whole sectors`,
    withSource(
      async (rig) => await exportOf(rig, volume, { [key]: 'qcow2' }),
      async ({ until }, rig) => {
        const info = await until('ready-for-transfer')
        const bytes = await readFile(sourceOf(rig))
        assert.is(bytes.subarray(0, 4).toString('latin1'), 'QFI\xfb')
        const { size, virtualSize } = info
        assert.equal([size % 512, size, virtualSize], [0, bytes.length, volume.length])
        const plain = join(rig.root, 'plain')
        execFileSync('qemu-img', ['convert', '-f', 'qcow2', '-O', 'raw', sourceOf(rig), plain])
        assert.ok((await readFile(plain)).equals(volume))
      },
    ),
  )
}

sources('qemu-img tells where the data of a file is, up to its last byte', async () => {
  const size = 64 * mebibyte + 512
  const file = await open(join(folder, 'file'), 'wx+')
  try {
    await file.truncate(size)
    await file.write(randomBytes(mebibyte), 0, mebibyte, 8 * mebibyte)
    const found = []
    const { signal } = new AbortController()
    for await (const extent of extentsOf({ fd: file.fd, size, signal })) found.push(extent)
    assert.equal(found, [
      { begin: 0, end: 8 * mebibyte, isHole: true },
      { begin: 8 * mebibyte, end: 9 * mebibyte, isHole: false },
      { begin: 9 * mebibyte, end: size, isHole: true },
    ])
  } finally {
    await file.close()
  }
})

sources.run()
