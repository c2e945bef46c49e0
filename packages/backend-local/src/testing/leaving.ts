// A process with two puts under way, of which one may be gone on with, until somebody kills it. Run
// with a root; says who it is and how much is durable.

import { once } from 'node:events'
import { type Bytes, type PutOptions } from '@backing-image/core'
import { LocalBackend } from '../index.ts'

const mebibyte = 1024 * 1024
const backend = await LocalBackend.open({ root: process.argv[2] ?? '', syncEveryBytes: mebibyte })
const chunk = Buffer.alloc(mebibyte, 'left')

async function* hanging(): Bytes {
  for (let count = 0; count < 4; count += 1) yield chunk
  await once(process, 'never')
}

const options: PutOptions = {
  keep: () => true,
  onDurable: (bytes) => {
    if (bytes >= 2 * mebibyte) process.stdout.write(`${backend.owner} ${bytes}\n`)
  },
}

// Keeps the process alive: a promise does not.
setInterval(() => {}, 60_000)
const plain = backend.put('plain-0123abcd/backing', hanging())
await backend.put('left-0123abcd/backing', hanging(), options)
await plain
