// Requests that are wrong in ways which only show late: each is refused before anything is begun, and ends.

import { once } from 'node:events'
import { truncate, utimes } from 'node:fs/promises'
import { stat } from 'node:fs/promises'
import { connect } from 'node:net'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { anyBytes, launchOf, pathOf, store, withDisk } from './testing/disk-rig.ts'

const hostile = suite('requests that are wrong')
const content = anyBytes(64 * 1024)

hostile(
  'a ready file that became shorter is not ready, whatever its modification time says',
  withDisk(async (rig) => {
    await store(rig, content)
    const path = pathOf(rig)
    const { atime, mtime } = await stat(path)
    await utimes(path, atime, new Date(Math.floor(mtime.getTime() / 1000) * 1000))
    await rig.until(path, 'unknown')
    await rig.until(path, 'ready')
    const before = await stat(path)
    await truncate(path, 512)
    await utimes(path, before.atime, before.mtime)
    assert.is((await rig.disk.get(path)).state, 'unknown')
    assert.match((await rig.until(path, 'failed')).message, `no file of ${content.length} bytes`)
  }),
)

hostile(
  'a checksum that is none, and a port that is none, are refused at once',
  withDisk(async (rig) => {
    for (const expectedChecksum of ['zz', 'A'.repeat(128), 'sha512:'.padEnd(135, 'a')]) {
      const launch = launchOf(rig, { expectedChecksum })
      assert.throws(() => rig.disk.begin(launch), /is no SHA-512/)
    }
    const common = `file-path=${encodeURIComponent(pathOf(rig))}&uuid=u&size=512`
    for (const port of [0, -1, 65_536]) {
      const query = `?action=receiveFromPeer&${common}&port=${port}`
      const answer = await rig.ask('POST', `/v1/files${query}`)
      assert.is(answer.status, 500)
      assert.match(answer.text, 'is none of 1 to 65535')
    }
    assert.equal(await rig.disk.list(), [])
  }),
)

hostile(
  'a body that is too large gets its answer, and its sender comes to an end',
  withDisk(async (rig) => {
    const path = encodeURIComponent(pathOf(rig))
    const query = `action=restoreFromBackupURL&file-path=${path}&uuid=u&backup-url=b&concurrent-limit=1`
    const length = 20 * 1024 * 1024
    const { hostname, port } = new URL(rig.url)
    const socket = connect(Number(port), hostname)
    let answer = ''
    socket.on('data', (chunk: Buffer) => (answer += chunk.toString()))
    const head = `POST /v1/files?${query} HTTP/1.1\r\nHost: a\r\nContent-Length: ${length}\r\n\r\n`
    socket.write(head)
    // It sends all before it listens.
    await new Promise<void>((resolve, reject) => {
      socket.once('error', reject)
      socket.write(Buffer.alloc(length, ' '), () => resolve())
    })
    while (!answer.includes('bytes\n')) await once(socket, 'data')
    assert.match(answer, /^HTTP\/1\.1 500 /)
    socket.destroy()
  }),
)

hostile.run()
