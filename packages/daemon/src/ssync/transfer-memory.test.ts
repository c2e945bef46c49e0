// What a transfer takes of memory, in a process of its own: both sides together.

import { createHash, randomBytes } from 'node:crypto'
import { open } from 'node:fs/promises'
import { join } from 'node:path'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { sendFile } from './sender.ts'
import { addressOf, receiving } from './testing/receiving.ts'

const memory = suite('ssync: memory')
const mebibyte = 1024 * 1024

memory(
  'does not grow with the file',
  receiving(async (rig) => {
    const path = join(rig.root, 'source')
    const file = await open(path, 'wx')
    const block = randomBytes(8 * mebibyte)
    const hash = createHash('sha512')
    for (let count = 0; count < 24; count += 1) {
      block.writeUInt32LE(count)
      await file.write(block)
      hash.update(block)
    }
    await file.close()
    const { disk, stop } = rig
    const receiver = await rig.listen()
    let most = 0
    const look = setInterval(() => {
      most = Math.max(most, process.memoryUsage().arrayBuffers)
    }, 5)
    await sendFile({ path, disk, address: addressOf(receiver), signal: stop.signal })
    clearInterval(look)
    const received = await receiver.received
    assert.is(received.sha512, hash.digest('hex'))
    // Both sides, with what their sockets hold; the file has 192 MiB.
    assert.ok(most > 0 && most < 96 * mebibyte, String(most))
    await received.temporary.discard()
  }),
)

memory.run()
