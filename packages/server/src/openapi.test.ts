import * as assert from 'uvu/assert'
import { readFile } from 'node:fs/promises'
import { suite } from 'uvu'
import { ImageStore, reasons } from '@backing-image/core'
import { MemoryBackend } from '@backing-image/core/testing'
import { StatusBoard } from '@backing-image/longhorn'
import { pino } from 'pino'
import { createApp } from './app.ts'
import { variableNames } from './config.ts'
import { Metrics } from './metrics.ts'
import { openapiDocument } from './openapi.ts'
import { Health } from './ready.ts'
import { secrets } from './secret.ts'
import { statusOf } from './status.ts'
import { testConfig } from './testing/serving.ts'

const openapi = suite('openapi')

async function routes(): Promise<string[]> {
  const backend = new MemoryBackend()
  const store = await ImageStore.open(backend)
  const app = createApp({
    store,
    config: testConfig,
    log: pino({ enabled: false }),
    metrics: new Metrics(),
    health: new Health({ store, backend }),
    longhorn: { board: new StatusBoard(store.clusters) },
    sourceTypes: [],
    version: '0',
  })
  await store.close()
  const found = app.routes.filter(({ method }) => method !== 'ALL')
  return found
    .map(({ method, path }) => `${method} ${path.replaceAll(/:([a-z]+)/g, '{$1}')}`)
    .toSorted()
}

openapi('the document has exactly the routes that there are', async () => {
  const { paths } = openapiDocument('0')
  const written = Object.entries(paths).flatMap(([path, methods]) =>
    Object.keys(methods)
      // Every GET answers HEAD too.
      .filter((method) => method !== 'head')
      .map((method) => `${method.toUpperCase()} ${path}`),
  )
  assert.equal(written.toSorted(), await routes())
})

openapi('docs/api.md has a heading for exactly the routes that there are', async () => {
  const guide = await readFile(new URL('../../../docs/api.md', import.meta.url), 'utf8')
  const headings = [...guide.matchAll(/^### `([A-Z]+) (\/[^`]*)`$/gm)].map(
    ([, method, path]) => `${method} ${path}`,
  )
  assert.equal(headings.toSorted(), await routes())
})

openapi('docs/api.md lists every code of an error with its status', async () => {
  const guide = await readFile(new URL('../../../docs/api.md', import.meta.url), 'utf8')
  const rows = [...guide.matchAll(/^\| `([a-z_]+)` \| ([0-9]{3}) \|/gm)].map(
    ([, code, status]) => `${code} ${status}`,
  )
  assert.equal(rows.toSorted(), reasons.map((code) => `${code} ${statusOf(code)}`).toSorted())
})

openapi('docs/api.md lists every variable, and says which are secrets', async () => {
  const guide = await readFile(new URL('../../../docs/api.md', import.meta.url), 'utf8')
  const rows = [...guide.matchAll(/^\| `([A-Z0-9_]+)` \| [^|]+ \| ([^|]+) \|/gm)]
  assert.equal(
    rows.map(([, name = '']) => name).toSorted(),
    [...variableNames, 'BACKING_IMAGE_MANAGER_URL'].toSorted(),
  )
  const told = rows
    .filter(([, , kind = '']) => kind.startsWith('secret'))
    .map(([, name = '']) => name)
  assert.equal(told.toSorted(), secrets.toSorted())
})

openapi(
  'uploads tell of a deletion meanwhile; documents and deletions know force; files tell of a bad name',
  () => {
    const { paths } = openapiDocument('0')
    const text = (path: string) => JSON.stringify(paths[path])
    assert.match(text('/v1/backing-images'), '"force"')
    assert.match(text('/v1/backing-images/{name}'), /"delete".*"force"/)
    assert.not.match(text('/v1/backing-images/{name}'), /"put".*"force".*"delete"/)
    assert.match(text('/v1/backing-images'), /"post".*"404"/)
    assert.match(text('/v1/backing-images/{name}'), /"put".*"404".*"get"/)
    assert.match(text('/files/{id}/{signature}/{filename}'), '"400"')
    assert.match(text('/v1/backing-images/{name}/download'), '"If-Unmodified-Since"')
  },
)

openapi(
  'every reference in the document leads somewhere, and every parameter of a path is told',
  () => {
    const document = openapiDocument('0')
    const text = JSON.stringify(document)
    for (const [, path = ''] of text.matchAll(/"\$ref":"#\/([^"]+)"/g)) {
      let value: unknown = document
      for (const part of path.split('/')) value = (value as Record<string, unknown>)[part]
      assert.ok(value, path)
    }
    for (const [path, methods] of Object.entries(document.paths)) {
      const names = [...path.matchAll(/{([a-z]+)}/g)].map(([, name = '']) => name)
      for (const operation of Object.values(methods) as {
        parameters?: { name: string; in: string }[]
      }[]) {
        const told = (operation.parameters ?? []).filter((each) => each.in === 'path')
        assert.equal(told.map(({ name }) => name).toSorted(), names.toSorted(), path)
      }
    }
  },
)

openapi.run()
