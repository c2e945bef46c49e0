// POST of a document as a client sees it: 202 at once, then a job that can be polled, waited for and
// cancelled, and no secret anywhere.

import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Web } from '@backing-image/core/testing'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import type { Config } from './config.ts'
import { type Serving, ask, askJson, serving } from './testing/serving.ts'

const create = suite('create')

const body = Buffer.alloc(200_000, 'disk')

function on(
  claim: (server: Serving, web: Web) => Promise<void>,
  config: Partial<Config> = {},
): () => Promise<void> {
  return async () => {
    const web = await Web.start()
    const server = await serving(config)
    try {
      await claim(server, web)
    } finally {
      await server.close()
      await web.stop()
    }
  }
}

async function post(server: Serving, document: object, query = '', headers = {}) {
  return await askJson(server, 'POST', `/v1/backing-images${query}`, {
    body: JSON.stringify(document),
    headers: { 'content-type': 'application/json', ...headers },
  })
}

function pathOf(location: string | undefined): string {
  const { pathname, search } = new URL(location ?? '')
  return pathname + search
}

create(
  'a download is 202 with its own place, and ready there in the end',
  on(async (server, web) => {
    const url = web.serve('/disk.img', body).href
    const document = {
      name: 'ubuntu',
      sourceType: 'download',
      parameters: { url },
      labels: { a: 'b' },
    }
    const { status, headers, json } = await post(server, document)
    assert.is(status, 202)
    assert.equal([json.state, json.name, json.version], ['pending', 'ubuntu', '1'])
    assert.match(headers.location ?? '', `uuid=${json.uuid}`)
    const path = pathOf(headers.location)
    const { json: ready } = await askJson(server, 'GET', `${path}&wait=60`)
    assert.equal([ready.state, ready.size, ready.sourceType], ['ready', body.length, 'download'])
    assert.equal(ready.parameters, { url })
    assert.equal(ready.labels, { a: 'b' })
    const bytes = await ask(server, 'GET', '/v1/backing-images/ubuntu/download')
    assert.ok(bytes.body.equals(body))
    const again = await post(server, document)
    assert.equal([again.status, again.json.uuid], [200, json.uuid])
    assert.is((await post(server, document, '?force=true')).status, 202)
    const onlyNew = await post(server, document, '', { 'if-none-match': '*' })
    assert.is(onlyNew.status, 412)
  }),
)

create(
  'a manifest of Longhorn is a download, too',
  on(async (server, web) => {
    const url = web.serve('/disk.img', body).href
    const manifest = {
      apiVersion: 'longhorn.io/v1beta2',
      kind: 'BackingImage',
      metadata: { name: 'ubuntu' },
      spec: { sourceType: 'download', sourceParameters: { url }, checksum: '' },
    }
    const { status, headers } = await post(server, manifest)
    assert.is(status, 202)
    const { json } = await askJson(server, 'GET', `${pathOf(headers.location)}&wait=60`)
    assert.is(json.state, 'ready')
  }),
)

create(
  'what is refused is said at once, with what to do, and leaves nothing',
  on(async (server) => {
    const ofUrl = (url: string) => ({ name: 'x1', sourceType: 'download', parameters: { url } })
    for (const [document, expected] of [
      [ofUrl('http://169.254.169.254/latest/meta-data'), /169\.254\.169\.254.*DOWNLOAD_ALLOW/],
      [ofUrl('http://user:secret@example.org/'), /secretRef/],
      [ofUrl('file:///etc/passwd'), /only http/],
      [{ name: 'x1', sourceType: 'download' }, /parameters\.url is missing/],
      [
        {
          ...ofUrl('http://example.org/'),
          parameters: { url: 'http://example.org/', credential: 'a' },
        },
        /SOURCE_SECRETS_DIR is not set/,
      ],
    ] as const) {
      const { status, json } = await post(server, document)
      assert.equal([status, json.code], [400, 'invalid_request'])
      assert.match(json.detail, expected)
      assert.not.match(json.detail, 'secret@')
    }
    assert.is((await post(server, ofUrl('http://example.org/'), '?force=perhaps')).status, 400)
    assert.equal(await server.keys(), [])
  }),
)

create('a secret goes where its file says, and is never told', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'secrets-'))
  await writeFile(
    join(folder, 'mirror'),
    JSON.stringify({ hosts: ['127.0.0.1'], headers: { 'X-Key': 'h1dden' }, token: 't0ken' }),
  )
  await writeFile(join(folder, 'broken'), '{"hosts":["127.0.0.1"],"key":"h1dden"}')
  await on(
    async (server, web) => {
      const url = web.serve('/disk.img', body).href
      const of = (secretRef: string, at = url) => ({
        name: 'ubuntu',
        sourceType: 'download',
        parameters: { url: at, credential: { secretRef } },
      })
      for (const [document, expected] of [
        [of('none'), /no such file/],
        [of('../mirror'), /plain name/],
        [of('broken'), /not as expected/],
        [of('mirror', 'http://example.org/'), /not meant for example\.org/],
      ] as const) {
        const { status, json } = await post(server, document)
        assert.is(status, 400)
        assert.match(json.detail, expected)
        assert.not.match(json.detail, 'h1dden')
      }
      const { status, headers } = await post(server, of('mirror'))
      assert.is(status, 202)
      const { json } = await askJson(server, 'GET', `${pathOf(headers.location)}&wait=60`)
      assert.equal(json.parameters, { url, credential: { secretRef: 'mirror' } })
      assert.is(json.state, 'ready')
      const sent = web.seen('/disk.img')[0]?.headers
      assert.equal([sent?.['x-key'], sent?.authorization], ['h1dden', 'Bearer t0ken'])
      for (const key of await server.keys()) {
        const content = Buffer.from(server.backend.store.objects.get(key)?.body ?? [])
        assert.not.match(content.toString('latin1'), /h1dden|t0ken/)
      }
      assert.not.match(JSON.stringify(server.lines), /h1dden|t0ken/)
    },
    { sourceSecretsPath: folder },
  )()
  await rm(folder, { recursive: true })
})

create(
  'the end of each job is one line in the log, and counted',
  on(async (server, web) => {
    const url = web.serve('/disk.img', body).href
    for (const [name, at] of [
      ['good', url],
      ['bad', web.url('/none').href],
    ]) {
      const document = { name, sourceType: 'download', parameters: { url: at } }
      const { headers } = await post(server, document)
      await askJson(server, 'GET', `${pathOf(headers.location)}&wait=60`)
    }
    const ends = server.lines.filter(({ msg }) => msg === 'image stored' || msg === 'job failed')
    assert.equal(
      ends.map(({ name, msg }) => [name, msg]),
      [
        ['good', 'image stored'],
        ['bad', 'job failed'],
      ],
    )
    const { text } = await ask(server, 'GET', '/metrics')
    assert.match(text, /ingest_bytes_total\{source_type="download"\} 200000/)
  }),
)

create.run()
