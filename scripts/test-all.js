// `npm test`: installs, builds and runs every test. The last line is `N passed, N failed, N skipped`.

import { spawnSync } from 'node:child_process'
import { join } from 'node:path'
import { distFolders, prepare, root } from './install.js'

process.on('exit', (code) => {
  if (!isPrepared && code !== 0) process.stdout.write('\n0 passed, 1 failed, 0 skipped\n')
})
let isPrepared = false
prepare()
isPrepared = true

const result = spawnSync(
  process.execPath,
  ['--enable-source-maps', join(root, 'scripts/test.js'), ...distFolders()],
  { cwd: root, stdio: 'inherit' },
)
process.exitCode = result.status ?? 1
