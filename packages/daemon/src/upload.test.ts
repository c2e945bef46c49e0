// Uploads as they come over the wire: which part of a form is taken, what is answered and when, and that a
// sender who stops, goes or lies leaves nothing (contract §2.4).

import { once } from 'node:events'
import { readFile } from 'node:fs/promises'
import { type Socket, connect } from 'node:net'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { qcow2Image, withBytes } from '@backing-image/core/testing'
import {
  type Answer,
  type DiskRig,
  anyBytes,
  eventually,
  pathOf,
  put,
  sha512,
  withDisk,
} from './testing/disk-rig.ts'

const uploads = suite('uploads')
const content = anyBytes(300 * 1024)

function queryOf(rig: DiskRig, more: Record<string, string> = {}): string {
  const query = new URLSearchParams({
    action: 'upload',
    'file-path': pathOf(rig),
    uuid: '0123abcd',
    size: String(content.length),
    ...more,
  })
  return `/v1/files?${query.toString()}`
}

function formOf(bytes: Uint8Array, ...others: [string, string][]): FormData {
  const form = new FormData()
  for (const [name, value] of others) form.append(name, value)
  form.append('chunk', new Blob([Uint8Array.from(bytes)]), 'blob')
  return form
}

async function upload(
  rig: DiskRig,
  bytes: Uint8Array,
  more: Record<string, string> = {},
): Promise<Answer> {
  const query = queryOf(rig, { size: String(bytes.length), ...more })
  return await rig.ask('POST', query, formOf(bytes))
}

uploads(
  'take the part that is named chunk, whatever stands before or behind it',
  withDisk(async (rig) => {
    const form = formOf(content, ['name', 'x'], ['more', 'y'.repeat(100_000)])
    form.append('file', new Blob(['z'.repeat(100_000)]), 'file')
    form.append('chunk', new Blob(['not this one']), 'second')
    const answer = await rig.ask('POST', queryOf(rig), form)
    assert.equal([answer.status, answer.text], [200, ''])
    const info = await rig.until(pathOf(rig), 'ready')
    assert.equal([info.currentChecksum, info.diskUUID], [sha512(content), ''])
    assert.ok((await readFile(pathOf(rig))).equals(content))
  }),
)

for (const [what, size] of [
  ['fewer', content.length + 512],
  ['more', content.length - 512],
] as const) {
  uploads(
    `of ${what} bytes than were announced are refused, and leave nothing`,
    withDisk(async (rig) => {
      const answer = await upload(rig, content, { size: String(size) })
      assert.is(answer.status, 500)
      assert.match(
        answer.text,
        /^processed data size \d+ does not match the expected file size \d+\n$/,
      )
      assert.match((await rig.until(pathOf(rig), 'failed')).message, /processed data size/)
      assert.equal(await rig.left(), [])
    }),
  )
}

uploads(
  'of far more than was announced end early: the disk is not filled',
  withDisk(async (rig) => {
    let taken = 0
    const head = '--b\r\nContent-Disposition: form-data; name="chunk"; filename="blob"\r\n\r\n'
    const body = new ReadableStream<Uint8Array>({
      pull: (controller) => {
        controller.enqueue(taken === 0 ? Buffer.from(head) : new Uint8Array(65_536).fill(7))
        taken += 65_536
        if (taken > 1024 * 1024 * 1024) controller.close()
      },
    })
    await fetch(rig.url + queryOf(rig, { size: '512' }), {
      method: 'POST',
      headers: { 'content-type': 'multipart/form-data; boundary=b' },
      body,
      duplex: 'half',
    }).then(
      (response) => assert.is(response.status, 500),
      () => {},
    )
    assert.match(
      (await rig.until(pathOf(rig), 'failed')).message,
      /does not match the expected file/,
    )
    assert.is(taken < 256 * 1024 * 1024, true, `${taken}`)
    assert.equal(await rig.left(), [])
  }),
)

uploads(
  'with another checksum than expected are answered with success, and then have failed',
  withDisk(async (rig) => {
    const answer = await upload(rig, content, { 'expected-checksum': '1'.repeat(128) })
    assert.equal([answer.status, answer.text], [200, ''])
    const info = await rig.until(pathOf(rig), 'failed')
    assert.is(
      info.message,
      `failed to process sync file: the expected checksum ${'1'.repeat(128)} doesn't match the file ` +
        `actual checksum ${sha512(content)}`,
    )
    assert.equal(await rig.left(), [])
  }),
)

uploads(
  'of a file that is there are not read, however large they are, and the connection lives on',
  withDisk(async (rig) => {
    await put(pathOf(rig), content)
    const large = Buffer.alloc(64 * 1024 * 1024, 'x')
    const query = queryOf(rig, { size: String(content.length) })
    const answer = await rig.ask('POST', query, formOf(large))
    assert.equal([answer.status, answer.text], [200, ''])
    const info = await rig.until(pathOf(rig), 'ready')
    assert.is(info.currentChecksum, sha512(content))
    const again = await rig.ask('POST', query, formOf(large)).catch((error: unknown) => error)
    if (!(again instanceof Error)) assert.match((again as Answer).text, /already exists/)
    assert.is((await rig.ask('GET', '/v1/files')).status, 200)
  }),
)

uploads(
  'that are no form, or have no such part, are refused',
  withDisk(async (rig) => {
    const none = new FormData()
    none.append('file', new Blob([content]), 'blob')
    const cases: [RequestInit['body'], RegExp][] = [
      [none, /doesn't contain form 'chunk'/],
      [Uint8Array.from(content), /no form that can be read/],
      ['text', /no form that can be read/],
      [undefined, /no form that can be read/],
      [new URLSearchParams({ chunk: 'x' }), /no form that can be read|doesn't contain/],
    ]
    for (const [body, words] of cases) {
      const answer = await rig.ask('POST', queryOf(rig), body)
      assert.is(answer.status, 500)
      assert.match(answer.text, words)
      await rig.until(pathOf(rig), 'failed')
      await rig.disk.remove(pathOf(rig))
      assert.equal(await rig.left(), [])
    }
  }),
)

/** A sender who writes the head of an upload and so many bytes of it. */
async function half(rig: DiskRig, bytes: Uint8Array, ending: string = ''): Promise<Socket> {
  const { port, host } = new URL(rig.url)
  const socket = connect(Number(port), '127.0.0.1')
  socket.on('error', () => {})
  const head =
    '--b\r\nContent-Disposition: form-data; name="chunk"; filename="blob"\r\n' +
    'Content-Type: application/octet-stream\r\n\r\n'
  const length = ending === '' ? 10 * content.length : head.length + bytes.length + ending.length
  socket.write(
    `POST ${queryOf(rig)} HTTP/1.1\r\nHost: ${host}\r\n` +
      `Content-Type: multipart/form-data; boundary=b\r\nContent-Length: ${length}\r\n\r\n${head}`,
  )
  await new Promise<void>((resolve) => socket.write(bytes, () => resolve()))
  socket.write(ending)
  return socket
}

for (const bytes of [0, 1000, 200 * 1024, content.length]) {
  uploads(
    `whose sender goes away after ${bytes} bytes leave nothing`,
    withDisk(async (rig) => {
      const socket = await half(rig, content.subarray(0, bytes))
      const state = bytes === 0 ? 'starting' : 'in-progress'
      await rig.until(pathOf(rig), state)
      socket.destroy()
      const info = await rig.until(pathOf(rig), 'failed')
      assert.match(info.message, /the sender went away/)
      await eventually('nothing is left', async () => (await rig.left()).length === 0)
    }),
  )
}

uploads(
  'whose form ends without its end are not whole',
  withDisk(async (rig) => {
    for (const ending of ['\r\n', '\r\n--', '\r\n--other--\r\n']) {
      const socket = await half(rig, content.subarray(0, content.length - ending.length), ending)
      const [reply] = (await once(socket, 'data')) as [Buffer]
      assert.match(reply.toString(), /^HTTP\/1\.1 500 /)
      socket.destroy()
      assert.is((await rig.until(pathOf(rig), 'failed')).state, 'failed')
      await rig.disk.remove(pathOf(rig))
      assert.equal(await rig.left(), [])
    }
  }),
)

uploads(
  'that are removed while they come end at once, and leave nothing',
  withDisk(async (rig) => {
    const socket = await half(rig, content.subarray(0, 1000))
    await rig.until(pathOf(rig), 'in-progress')
    const answer = await rig.ask('DELETE', `/v1/files/${encodeURIComponent(pathOf(rig))}`)
    assert.is(answer.status, 200)
    assert.equal(await rig.left(), [])
    const [reply] = (await once(socket, 'data')) as [Buffer]
    assert.match(reply.toString(), /^HTTP\/1\.1 500 /)
    socket.destroy()
  }),
)

uploads(
  'that could make a machine read files of its host are refused with that reason',
  withDisk(async (rig) => {
    const bytes = qcow2Image({ backingFile: '/etc/passwd' })
    const answer = await upload(rig, bytes)
    assert.is(answer.status, 500)
    assert.match(answer.text, /backing file/)
    assert.match((await rig.until(pathOf(rig), 'failed')).message, /backing file/)
    assert.equal(await rig.left(), [])
  }),
)

for (const [what, bytes] of [
  ['a VMDK', withBytes('KDMV\x01\0\0\0')],
  ['gzip', withBytes('\x1f\x8b\x08\x00')],
  ['a page', withBytes('<!doctype html><html>')],
] as const) {
  uploads(
    `of ${what} are bytes like others`,
    withDisk(async (rig) => {
      assert.is((await upload(rig, bytes)).status, 200)
      const info = await rig.until(pathOf(rig), 'ready')
      assert.equal([info.virtualSize, info.currentChecksum], [bytes.length, sha512(bytes)])
    }),
  )
}

uploads(
  'of a qcow2 are kept as they are, with the size that a guest sees',
  withDisk(async (rig) => {
    const bytes = qcow2Image()
    assert.is((await upload(rig, bytes)).status, 200)
    const info = await rig.until(pathOf(rig), 'ready')
    assert.equal([info.size, info.virtualSize], [bytes.length, 1024 * 1024])
    assert.ok((await readFile(pathOf(rig))).equals(bytes))
  }),
)

uploads(
  'of nothing are ready, and of an odd size refused before anything is known',
  withDisk(async (rig) => {
    const odd = await upload(rig, content, { size: '513' })
    assert.is(odd.status, 500)
    assert.is(
      odd.text,
      'the uploaded file size 513 should be a multiple of 512 bytes since Longhorn uses directIO by ' +
        'default\n',
    )
    assert.equal(await rig.disk.list(), [])
    assert.is((await upload(rig, new Uint8Array())).status, 200)
    assert.is((await rig.until(pathOf(rig), 'ready')).size, 0)
  }),
)

uploads.run()
