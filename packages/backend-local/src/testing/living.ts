// A process that lives, and keeps a put unfinished, until somebody kills it. Run with a root.

import { once } from 'node:events'
import { LocalBackend } from '../index.ts'

const backend = await LocalBackend.open({ root: process.argv[2] ?? '' })
const chunk = Buffer.alloc(1024 * 1024, 'unfinished')

async function* hanging(): AsyncGenerator<Uint8Array> {
  for (let count = 0; count < 3; count += 1) yield chunk
  process.stdout.write(`${backend.owner}\n`)
  await once(process, 'never')
}

// Keeps the process alive: a promise does not.
setInterval(() => {}, 60_000)
await backend.put('living/backing', hanging())
