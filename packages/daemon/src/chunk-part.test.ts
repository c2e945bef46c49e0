// How long a sender of an upload is waited for; what comes of a form is in upload.test.ts.

import { once } from 'node:events'
import { createServer } from 'node:http'
import { type AddressInfo, connect } from 'node:net'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { readChunkPart } from './chunk-part.ts'
import { eventually } from './testing/disk-rig.ts'

const parts = suite('the part of an upload')

parts('ends when its sender has been silent for long', async () => {
  const failures: Error[] = []
  const server = createServer((request) => {
    void (async () => {
      const { signal } = new AbortController()
      try {
        for await (const chunk of readChunkPart(request, signal, 100)) void chunk
      } catch (error) {
        failures.push(error as Error)
      }
    })()
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const socket = connect((server.address() as AddressInfo).port, '127.0.0.1')
  socket.write(
    'POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9999\r\n' +
      'Content-Type: multipart/form-data; boundary=b\r\n\r\n--b\r\n',
  )
  await eventually('it has failed', async () => failures.length === 1)
  assert.is(failures[0]?.message, 'no byte came for 100 ms')
  socket.destroy()
  await new Promise((done) => server.close(done))
})

parts.run()
