// The process that makes a first copy: what it tells, when it hands over, and which of a client's wishes it
// does not heed (contract §2.2 and §4.4).

import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { type Web, Web as WebServer } from '@backing-image/core/testing'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { DataSource, type DataSourceInfo } from './data-source.ts'
import { anyBytes, failureOf, sha512, sourceOf, withDisk } from './testing/disk-rig.ts'
import { formOf, partsOf, withSource } from './testing/source-rig.ts'

const sources = suite('data sources')
const content = anyBytes(700 * 1024)
sources(
  'of an upload are pending from the first moment, ready for the transfer, and ready for ever',
  withSource({ checksum: sha512(content) }, async ({ ask, until }, rig) => {
    const first = JSON.parse((await ask('GET')).text) as DataSourceInfo
    assert.equal(first, {
      sourceType: 'upload',
      parameters: {},
      name: 'debian-12',
      diskUUID: 'disk-1',
      expectedChecksum: sha512(content),
      filePath: sourceOf(rig),
      uuid: '0123abcd',
      size: 0,
      virtualSize: 0,
      realSize: 0,
      state: 'pending',
      progress: 0,
      processedSize: 0,
      modificationTime: '',
      currentChecksum: '',
      message: '',
      sendingReference: 0,
    })
    const early = await ask('POST', '?action=transfer')
    assert.is(early.status, 500)
    assert.match(early.text, /current state is pending rather than ready-for-transfer/)
    const query = `?action=upload&size=${content.length}`
    assert.is((await ask('POST', query, formOf(content))).status, 200)
    const whole = await until('ready-for-transfer')
    assert.equal([whole.diskUUID, whole.currentChecksum], ['', sha512(content)])
    for (let times = 0; times < 3; times += 1) {
      const moved = await ask('POST', '?action=transfer')
      assert.equal([moved.status, moved.text], [200, ''])
      assert.equal(await until('ready'), { ...whole, state: 'ready' })
    }
    assert.equal(await rig.disk.list(), [])
    const late = await ask('POST', query, formOf(content))
    assert.is(late.status, 500)
    assert.match(late.text, /the datasource file is ready/)
    assert.ok((await readFile(sourceOf(rig))).equals(content))
  }),
)

sources(
  'let a client choose nothing but the size',
  withSource({ checksum: sha512(content) }, async ({ ask, until }, rig) => {
    const query = new URLSearchParams({
      action: 'upload',
      size: String(content.length),
      'file-path': join(rig.root, 'elsewhere'),
      uuid: 'another',
      'expected-checksum': '1'.repeat(128),
      'disk-uuid': 'another',
      'data-engine': 'v2',
    })
    assert.is((await ask('POST', `?${query.toString()}`, formOf(content))).status, 200)
    const info = await until('ready-for-transfer')
    assert.equal([info.filePath, info.uuid], [sourceOf(rig), '0123abcd'])
    assert.equal([info.expectedChecksum, info.diskUUID], [sha512(content), ''])
    for (const size of ['', '-512', '1e3', 'x', '513']) {
      assert.is((await ask('POST', `?action=upload&size=${size}`, formOf(content))).status, 500)
    }
    assert.is((await ask('POST', '?action=remove')).status, 404)
    assert.is((await ask('POST')).status, 404)
  }),
)

sources(
  'that nobody sends anything to fail in time, and take no upload any more',
  withSource({ beginTimeoutMs: 30 }, async ({ ask, until }, rig) => {
    const info = await until('failed')
    assert.is(info.message, 'timeout waiting for the datasource file processing begin')
    const late = await ask('POST', `?action=upload&size=${content.length}`, formOf(content))
    assert.is(late.status, 500)
    assert.match(late.text, /the datasource file is failed. timeout waiting/)
    assert.is((await ask('POST', '?action=transfer')).status, 500)
    assert.equal(await rig.left(), [])
  }),
)

async function withPage(claim: (web: Web) => Promise<void>): Promise<void> {
  const web = await WebServer.start()
  try {
    await claim(web)
  } finally {
    await web.stop()
  }
}

sources('of a download go on where the connection broke, and take no upload', async () => {
  await withPage(async (web) => {
    const fault = (count: number): object | undefined =>
      count === 1 ? { cutAfterBytes: 200 * 1024 } : undefined
    const url = String(web.serve('/image', content, { fault }))
    const changes = { sourceType: 'download', parameters: { url, other: 'x' } }
    await withSource(changes, async ({ ask, until }, rig) => {
      const info = await until('ready-for-transfer')
      assert.equal([info.size, info.currentChecksum], [content.length, sha512(content)])
      assert.equal([info.diskUUID, info.parameters], ['disk-1', { url, other: 'x' }])
      assert.ok((await readFile(sourceOf(rig))).equals(content))
      const answer = await ask('POST', '?action=upload&size=512', formOf(content))
      assert.is(answer.status, 400)
      const words = 'cannot do upload since data source type is download rather than upload\n'
      assert.is(answer.text, words)
    })()
    assert.is(
      web.requests.some(({ headers }) => headers.range !== undefined),
      true,
    )
  })
})

sources('of a download that is refused fail with the reason', async () => {
  await withPage(async (web) => {
    const parameters = { url: String(web.url('/nothing')) }
    await withSource({ sourceType: 'download', parameters }, async ({ until }, rig) => {
      assert.match((await until('failed')).message, /^failed to process sync file: .*404/)
      assert.equal(await rig.left(), [])
    })()
  })
})

sources('without what their kind needs do not start', async () => {
  const wrong: [string, Record<string, string>, RegExp][] = [
    ['', {}, /unknown data source type/],
    ['constructor', {}, /unknown data source type/],
    ['download', {}, /url is not specified/],
    ['download', { url: 'nowhere' }, /the url is none/],
    ['export-from-volume', { 'snapshot-name': 's' }, /sender-address is not specified/],
    ['export-from-volume', { 'sender-address': 'a:1' }, /snapshot-name is not specified/],
    ['restore', { 'concurrent-limit': '1' }, /backup-url is not specified/],
    ['restore', { 'backup-url': 'nfs://x' }, /concurrent-limit is not specified/],
    ['restore', { 'backup-url': 'nfs://x', 'concurrent-limit': 'x' }, /concurrent-limit is no/],
    [
      'clone',
      { 'backing-image': 'a', encryption: 'ignore' },
      /backing-image-uuid is not specified/,
    ],
  ]
  await withDisk(async (rig) => {
    for (const [sourceType, parameters, words] of wrong) {
      const parts = await partsOf(rig, { sourceType, parameters })
      assert.match((await failureOf(DataSource.start(parts))).message, words)
    }
    for (const changes of [{ name: '' }, { uuid: '' }, { name: '../up' }]) {
      const parts = await partsOf(rig, changes)
      assert.match((await failureOf(DataSource.start(parts))).message, /no part of a path/)
    }
    assert.equal(await rig.disk.list(), [])
  })()
})

sources.run()
