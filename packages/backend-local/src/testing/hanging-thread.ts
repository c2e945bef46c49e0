// The thread of scan.ts on a disk that hangs for as long as there is a file `hang` in the root.

import fs from 'node:fs'
import { join } from 'node:path'

const { readdirSync } = fs
const sleep = new Int32Array(new SharedArrayBuffer(4))

function hangingReaddir(folder: string, options: { withFileTypes: true }): fs.Dirent[] {
  const hang = join(folder, '..', 'hang')
  while (fs.existsSync(hang)) Atomics.wait(sleep, 0, 0, 10)
  return readdirSync(folder, options)
}

Object.assign(fs, { readdirSync: hangingReaddir })
await import('../scan-thread.ts')
