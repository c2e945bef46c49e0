// The examples of the README, run as they stand: every `sh` block, against the real server.
//
//   node scripts/test.js e2e/readme.test.js

import { chmodSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { freshFolder, requireTools, root, run, startServer } from './machine.js'

const readme = readFileSync(join(root, 'README.md'), 'utf8')
const binary = join(root, 'packages/server/bin/backing-image-manager.cjs')
const imageBytes = 1024 * 1024

const test = suite('README')
let folder
let server

/** The server of the test in place of the reader's, the compiled program in place of the installed. */
function runnable(block) {
  return block
    .replaceAll('http://localhost:8080', server.url)
    .replaceAll(/^backing-image-manager/gm, `node ${binary}`)
}

test.before(async () => {
  requireTools('curl', 'cmp')
  folder = freshFolder()
  writeFileSync(join(folder.path, 'disk.img'), Buffer.alloc(imageBytes, 'an image of some kind '))
  const storage = join(folder.path, 'storage')
  await run('mkdir', [storage])
  server = await startServer(storage)
})

test.after(async () => {
  await server?.stop()
  folder?.remove()
})

test('every example does what it says', async () => {
  const blocks = [...readme.matchAll(/^```sh\n(.*?)^```$/gms)].map(([, block]) => block)
  assert.ok(blocks.length >= 2, `only ${blocks.length} examples`)
  for (const [index, block] of blocks.entries()) {
    const script = join(folder.path, `example-${index}.sh`)
    writeFileSync(script, `set -eux\n${runnable(block)}`)
    chmodSync(script, 0o755)
    await run('bash', [script], {
      cwd: folder.path,
      env: { BACKING_IMAGE_MANAGER_URL: server.url },
    })
  }
  const kept = readFileSync(join(folder.path, 'disk.img'))
  assert.ok(kept.equals(readFileSync(join(folder.path, 'copy.img'))))
  assert.ok(kept.equals(readFileSync(join(folder.path, 'tools.img'))))
})

test('the README stays short, and every file that it names is there', () => {
  assert.ok(readme.split('\n').length < 150)
  for (const [, path] of readme.matchAll(/\]\(([^)#:]+)\)/g)) readPath(path)
})

function readPath(path) {
  assert.not.throws(
    () => readFileSync(join(root, path)),
    (error) => error.code !== 'EISDIR',
    path,
  )
}

test.run()
