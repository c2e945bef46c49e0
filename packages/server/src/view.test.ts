import * as assert from 'uvu/assert'
import { suite } from 'uvu'
import { rawImage } from '@backing-image/core/testing'
import { askJson, put, serving } from './testing/serving.ts'

const view = suite('view')

async function linksBy(
  overrides: Parameters<typeof serving>[0],
  headers: Record<string, string>,
): Promise<string> {
  const server = await serving(overrides)
  await put(server, 'ubuntu', rawImage())
  const { json } = await askJson(server, 'GET', '/v1/backing-images/ubuntu', { headers })
  await server.close()
  assert.is(
    json.links.self,
    json.links.self.replace(/\/v1.*/, `/v1/backing-images/ubuntu?uuid=${json.uuid}`),
  )
  return json.links.download.replace('/v1/backing-images/ubuntu/download?version=1', '')
}

const forwarded = { 'x-forwarded-proto': 'https', 'x-forwarded-host': 'images.example.com, inner' }

view('links use PUBLIC_URL where it is set', async () => {
  const base = await linksBy({ publicUrl: 'https://public.example.com/images' }, forwarded)
  assert.is(base, 'https://public.example.com/images')
})

view('links use Host, and what a proxy says only when it is trusted', async () => {
  assert.is(await linksBy({}, { host: 'here:1234', ...forwarded }), 'http://here:1234')
  assert.is(await linksBy({ trustProxy: true }, forwarded), 'https://images.example.com')
  const bad = { host: 'here:1234', 'x-forwarded-proto': 'ftp', 'x-forwarded-host': 'a/b?"' }
  assert.is(await linksBy({ trustProxy: true }, bad), 'http://here:1234')
})

view.run()
