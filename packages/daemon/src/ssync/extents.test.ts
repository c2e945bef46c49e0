// Where the data of a file is, as scripts say that stand for a qemu-img; the real one is asked in
// e2e/daemon-export.test.js.

import { randomBytes } from 'node:crypto'
import { open, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { withFolder } from '@backing-image/backend-local/testing'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { type Extent, extentsOf } from './extents.ts'

const extents = suite('ssync: extents')
const mebibyte = 1024 * 1024
const size = 64 * mebibyte + 512

/** A claim about a file with a MiB of data at 8 MiB. */
function ofFile(
  claim: (rig: {
    root: string
    told: (qemuImg?: string, signal?: AbortSignal) => Promise<Extent[]>
  }) => Promise<void>,
): () => Promise<void> {
  return () =>
    withFolder(async (root) => {
      const file = await open(join(root, 'file'), 'wx+')
      try {
        await file.truncate(size)
        await file.write(randomBytes(mebibyte), 0, mebibyte, 8 * mebibyte)
        await claim({
          root,
          told: async (qemuImg, signal = new AbortController().signal) => {
            const found: Extent[] = []
            const options = { fd: file.fd, size, signal, ...(qemuImg !== undefined && { qemuImg }) }
            for await (const extent of extentsOf(options)) found.push(extent)
            return found
          },
        })
      } finally {
        await file.close()
      }
    })
}

const whole = { begin: 0, end: size, isHole: false }
const head = '{"start":0,"length":4096,"zero":true,"data":false}'
const rest = [
  { begin: 0, end: 4096, isHole: true },
  { begin: 4096, end: size, isHole: false },
]
const programs: [string, string, Extent[]][] = [
  ['tells no end', `echo '[${head}]'`, rest],
  ['fails', 'exit 1', [whole]],
  ['says nothing of use', `echo '[]'; echo '{'; echo '[{"start":"x"}]'`, [whole]],
  ['fails on its way', `echo '[${head},'; exit 1`, rest],
  ['is killed on its way', `echo '[${head},'; kill -9 $$`, rest],
  ['leaves a gap', `echo '[${head},'; echo '{"start":8192,"length":4096}]'`, rest],
  ['says lines without an end', `echo '[${head},'; exec cat /dev/zero`, rest],
  ['says more than there is', `echo '[{"start":0,"length":99999999999}]'`, [whole]],
]
for (const [what, script, expected] of programs) {
  extents(
    `that are not told are data: the program ${what}`,
    ofFile(async ({ root, told }) => {
      const program = join(root, 'program')
      await writeFile(program, `#!/bin/sh\n${script}\n`, { mode: 0o755 })
      assert.equal(await told(program), expected)
    }),
  )
}

extents(
  'are all data where there is no program',
  ofFile(async ({ told }) => {
    assert.equal(await told('/nowhere/qemu-img'), [whole])
  }),
)

extents(
  'end with the signal, and so does the program',
  ofFile(async ({ root, told }) => {
    const program = join(root, 'program')
    const script = `#!/bin/sh\necho '[${head},'\nexec sleep 600\n`
    await writeFile(program, script, { mode: 0o755 })
    const begun = performance.now()
    const error = await told(program, AbortSignal.timeout(100)).catch((reason: unknown) => reason)
    assert.is((error as Error).name, 'TimeoutError')
    assert.ok(performance.now() - begun < 20_000)
  }),
)

extents.run()
