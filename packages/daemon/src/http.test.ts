// How the file service answers: one segment for a path however it is encoded, Longhorn's errors as a line of
// text, and the downloads (contract §2.1, §2.3 and §2.5).

import { once } from 'node:events'
import { rm } from 'node:fs/promises'
import { connect } from 'node:net'
import { join } from 'node:path'
import { gunzipSync } from 'node:zlib'
import { openFiles } from '@backing-image/backend-local/testing'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import {
  type Answer,
  anyBytes,
  eventually,
  launchOf,
  pathOf,
  put,
  sha512,
  store,
  withDisk,
} from './testing/disk-rig.ts'

const http = suite('the file service')
const content = anyBytes(100 * 1024)

function assertRefused(answer: Answer, status: number, words: RegExp): void {
  assert.is(answer.status, status, answer.text)
  assert.match(answer.text, words)
  assert.match(answer.text, /^[^\n]+\n$/)
  assert.is(answer.headers.get('content-type'), 'text/plain; charset=utf-8')
  assert.is(answer.headers.get('x-content-type-options'), 'nosniff')
}

/** As Go's url.QueryEscape does it. */
function queryEscape(path: string): string {
  return encodeURIComponent(path).replaceAll('%20', '+')
}

http(
  'finds a file by its path as one segment, escaped for a query or for a path',
  withDisk(async (rig) => {
    const path = join(rig.root, 'backing-images', 'a b+c~é%41-1', 'backing')
    await store(rig, content, { path })
    for (const id of [queryEscape(path), encodeURIComponent(path)]) {
      const answer = await rig.ask('GET', `/v1/files/${id}`)
      assert.is(answer.status, 200, id)
      assert.is(answer.headers.get('content-type'), 'application/json')
      assert.is((JSON.parse(answer.text) as { filePath: string }).filePath, path)
    }
    assert.is((await rig.ask('DELETE', `/v1/files/${queryEscape(path)}`)).status, 200)
    assert.equal(await rig.left(), [])
  }),
)

http(
  'sends what is written with more slashes to where it is without',
  withDisk(async (rig) => {
    const id = encodeURIComponent(pathOf(rig))
    const turns: [string, string][] = [
      ['/v1/files/', '/v1/files'],
      [`/v1/files/${id}/`, `/v1/files/${id}`],
      [
        `/v1/files/${id}/download/?forV2Creation=true`,
        `/v1/files/${id}/download?forV2Creation=true`,
      ],
      ['//v1///files?action=fetch', '/v1/files?action=fetch'],
      ['//example.com/', '/example.com'],
    ]
    for (const [from, to] of turns) {
      const answer = await rig.ask('GET', from)
      assert.equal([answer.status, answer.headers.get('location')], [301, to], from)
    }
    assertRefused(await rig.ask('GET', `/v1/files${pathOf(rig)}`), 404, /^404 page not found\n$/)
  }),
)

http(
  'knows no other action and no other route',
  withDisk(async (rig) => {
    const id = encodeURIComponent(pathOf(rig))
    const words = /^404 page not found\n$/
    assertRefused(await rig.ask('POST', '/v1/files'), 404, words)
    assertRefused(await rig.ask('POST', '/v1/files?action=upload2'), 404, words)
    assertRefused(await rig.ask('POST', '/v1/files?action=__proto__'), 404, words)
    assertRefused(await rig.ask('POST', '/v1/files?action=constructor'), 404, words)
    assertRefused(await rig.ask('POST', `/v1/files/${id}`), 404, words)
    assertRefused(await rig.ask('POST', `/v1/files/${id}?action=upload`), 404, words)
    assertRefused(await rig.ask('GET', '/'), 404, words)
    assertRefused(await rig.ask('GET', '/v2/files'), 404, words)
  }),
)

http(
  'tells which file it does not know; to remove or forget one is success',
  withDisk(async (rig) => {
    const path = pathOf(rig)
    const id = encodeURIComponent(path)
    assertRefused(await rig.ask('GET', `/v1/files/${id}`), 404, /^can not find sync file \//)
    for (let times = 0; times < 3; times += 1) {
      for (const [method, query] of [
        ['DELETE', ''],
        ['POST', '?action=forget'],
      ] as const) {
        const answer = await rig.ask(method, `/v1/files/${id}${query}`)
        assert.equal([answer.status, answer.text], [200, ''])
      }
    }
    assertRefused(
      await rig.ask('POST', `/v1/files/${id}?action=sendToPeer&to-address=a:1`),
      500,
      /can not find/,
    )
    assertRefused(await rig.ask('POST', `/v1/files/${id}?action=sendToPeer`), 500, /to-address/)
    assertRefused(await rig.ask('GET', `/v1/files/${id}/download`), 500, /can not find/)
    for (const method of ['GET', 'DELETE']) {
      assertRefused(await rig.ask(method, '/v1/files/%zz'), 400, /invalid URL escape/)
    }
    assertRefused(await rig.ask('POST', '/v1/files/%zz?action=forget'), 400, /invalid URL escape/)
  }),
)

http(
  'refuses an order that lacks something, and nothing is known of it',
  withDisk(async (rig) => {
    const all: Record<string, Record<string, string>> = {
      fetch: {
        'src-file-path': pathOf(rig),
        'dst-file-path': pathOf(rig),
        uuid: 'u',
        'disk-uuid': 'd',
        size: '512',
      },
      upload: { 'file-path': pathOf(rig), uuid: 'u', size: '512' },
      downloadFromURL: { 'file-path': pathOf(rig), uuid: 'u', url: 'http://127.0.0.1:1/x' },
      receiveFromPeer: { 'file-path': pathOf(rig), uuid: 'u', size: '512', port: '0' },
      restoreFromBackupURL: {
        'file-path': pathOf(rig),
        uuid: 'u',
        'backup-url': 'nfs://x',
        'concurrent-limit': '1',
      },
      cloneFromBackingImage: {
        'file-path': pathOf(rig),
        uuid: 'u',
        'backing-image': 'a',
        'backing-image-uuid': 'b',
        encryption: 'ignore',
      },
    }
    for (const [action, parameters] of Object.entries(all)) {
      for (const missing of Object.keys(parameters)) {
        const query = new URLSearchParams({ action, ...parameters })
        query.delete(missing)
        assertRefused(
          await rig.ask('POST', `/v1/files?${query.toString()}`),
          500,
          new RegExp(missing),
        )
      }
      for (const [key, value] of [
        ['size', '1k'],
        ['size', '99999999999999999999'],
        ['size', '513'],
        ['port', 'x'],
        ['concurrent-limit', '1.5'],
      ] as const) {
        if (!(key in parameters)) continue
        const query = new URLSearchParams({ action, ...parameters, [key]: value })
        assertRefused(
          await rig.ask('POST', `/v1/files?${query.toString()}`),
          500,
          /number|multiple of 512/,
        )
      }
    }
    const other = new URLSearchParams({
      action: 'receiveFromPeer',
      ...all['receiveFromPeer'],
      'file-type': 'vmdk',
    })
    assertRefused(await rig.ask('POST', `/v1/files?${other.toString()}`), 500, /raw or qcow2/)
    for (const body of ['[', '[]', '"a"', '{"a":1}']) {
      const query = new URLSearchParams({
        action: 'restoreFromBackupURL',
        ...all['restoreFromBackupURL'],
      })
      assertRefused(
        await rig.ask('POST', `/v1/files?${query.toString()}`, body),
        500,
        /the body is no/,
      )
    }
    assert.equal(await rig.disk.list(), [])
  }),
)

http(
  'takes the first of several values',
  withDisk(async (rig) => {
    const path = pathOf(rig)
    await put(path, content)
    const query = new URLSearchParams({ action: 'fetch', uuid: 'first', 'disk-uuid': 'd' })
    query.append('uuid', 'second')
    for (const key of ['src-file-path', 'dst-file-path']) query.append(key, path)
    query.append('size', String(content.length))
    const answer = await rig.ask('POST', `/v1/files?${query.toString()}`)
    assert.equal([answer.status, answer.text], [200, ''])
    assert.is((await rig.until(path, 'ready')).uuid, 'first')
  }),
)

http(
  'gives a file as gzip that no client unpacks by itself, under the name of its image',
  withDisk(async (rig) => {
    await store(rig, content)
    const url = `/v1/files/${queryEscape(pathOf(rig))}/download`
    const answer = await rig.ask('GET', url)
    assert.is(answer.status, 200)
    assert.ok(gunzipSync(answer.body).equals(content))
    assert.is(answer.headers.get('content-encoding'), null)
    assert.is(answer.headers.get('content-length'), null)
    assert.is(answer.headers.get('content-type'), 'application/octet-stream')
    assert.is(answer.headers.get('content-disposition'), 'attachment; filename=debian.gz')
    const head = await rig.ask('HEAD', url)
    assert.equal([head.status, head.body.length], [200, 0])
    assert.is(head.headers.get('content-disposition'), 'attachment; filename=debian.gz')
  }),
)

http(
  'gives a file as it is to the second engine, which asks for its length first',
  withDisk(async (rig) => {
    await store(rig, content)
    const url = `/v1/files/${queryEscape(pathOf(rig))}/download?forV2Creation=true`
    for (const method of ['HEAD', 'GET']) {
      const answer = await rig.ask(method, url)
      assert.is(answer.status, 200)
      assert.is(answer.headers.get('content-length'), String(content.length))
      assert.is(answer.headers.get('content-type'), 'application/octet-stream')
      assert.is(answer.headers.get('content-disposition'), null)
      if (method === 'GET') assert.is(sha512(answer.body), sha512(content))
    }
  }),
)

http(
  'gives none that is not ready, and none that has gone',
  withDisk(async (rig) => {
    const path = pathOf(rig)
    await rig.disk.fetch(launchOf(rig), path)
    await rig.until(path, 'failed')
    const url = `/v1/files/${encodeURIComponent(path)}/download`
    assertRefused(await rig.ask('GET', url), 500, /invalid state failed for the download/)
    await rig.disk.forget(path)
    await store(rig, content)
    await rm(path)
    assertRefused(await rig.ask('GET', url), 500, /ENOENT/)
    assertRefused(await rig.ask('GET', `${url}?forV2Creation=true`), 500, /ENOENT/)
  }),
)

http(
  'cuts the connection when the disk fails on the way: no client takes the part for the whole',
  withDisk(async (rig) => {
    await store(rig, anyBytes(8 * 1024 * 1024))
    for (const query of ['', '?forV2Creation=true']) {
      let reads = 0
      rig.faulty.failWhen(({ verb }) => (verb === 'read' && (reads += 1) > 4 ? 'EIO' : undefined))
      const url = `${rig.url}/v1/files/${encodeURIComponent(pathOf(rig))}/download${query}`
      const response = await fetch(url)
      const error = await response.arrayBuffer().then(
        () => undefined,
        (thrown: unknown) => thrown,
      )
      assert.ok(error instanceof Error, 'it ended well')
      rig.faulty.failWhen()
    }
  }),
)

http(
  'lets go of the file when a client goes away or stops reading',
  withDisk(async (rig) => {
    await store(rig, anyBytes(16 * 1024 * 1024))
    const { port, host } = new URL(rig.url)
    for (const query of ['', '?forV2Creation=true']) {
      const socket = connect(Number(port), '127.0.0.1')
      socket.on('error', () => {})
      const path = `/v1/files/${encodeURIComponent(pathOf(rig))}/download${query}`
      socket.write(`GET ${path} HTTP/1.1\r\nHost: ${host}\r\n\r\n`)
      await once(socket, 'readable')
      assert.is((await openFiles(rig.root)).length, 1)
      socket.destroy()
      await eventually('it is closed', async () => (await openFiles(rig.root)).length === 0)
    }
  }),
)

http.run()
