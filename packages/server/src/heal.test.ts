// A damaged image comes back from where it came: a web server, also compressed, or another manager, of
// which only the damaged block moves.

import * as assert from 'uvu/assert'
import { gzipSync } from 'node:zlib'
import { suite } from 'uvu'
import type { ScrubReport } from '@backing-image/core'
import { Web, rawImage } from '@backing-image/core/testing'
import { type Serving, ask, askJson, eventually, put, serving } from './testing/serving.ts'

const heal = suite('heal')

const mebibyte = 1024 * 1024

/** An image that is the server's own work to fetch, when it is ready. */
async function fetched(server: Serving, sourceType: string, parameters: object): Promise<string> {
  const { headers } = await askJson(server, 'POST', '/v1/backing-images', {
    body: JSON.stringify({ name: 'base', sourceType, parameters }),
    headers: { 'content-type': 'application/json' },
  })
  const { pathname, search } = new URL(headers.location ?? '')
  const { json } = await askJson(server, 'GET', `${pathname}${search}&wait=60`)
  assert.is(json.state, 'ready', json.message)
  return json.uuid
}

/** Flips a bit of the stored bytes, behind the server's back. */
function damage(server: Serving, uuid: string, at: number): void {
  const object = server.backend.store.objects.get(`base-${uuid}/backing`)
  if (object?.body[at] === undefined) throw new Error('There are no such bytes.')
  object.body[at] ^= 1
}

async function scrubbed(server: Serving): Promise<ScrubReport> {
  const begun = await ask(server, 'POST', '/v1/scrub', { body: '{"repair":true}' })
  const { id } = JSON.parse(begun.text) as ScrubReport
  let report: ScrubReport | undefined
  await eventually(async () => {
    report = JSON.parse((await ask(server, 'GET', `/v1/scrub/${id}`)).text) as ScrubReport
    return report.state !== 'running'
  })
  if (!report) throw new Error('There is no report.')
  return report
}

/** Found, mended, and served as before. */
async function assertHealed(server: Serving, expected: Buffer): Promise<void> {
  const report = await scrubbed(server)
  assert.equal([report.faults, report.repaired], [1, 1], JSON.stringify(report.findings))
  const { json } = await askJson(server, 'GET', '/v1/backing-images/base')
  assert.is(json.state, 'ready')
  assert.ok((await ask(server, 'GET', '/v1/backing-images/base/download')).body.equals(expected))
  assert.is((await scrubbed(server)).faults, 0)
}

function image(sizeBytes: number): Buffer {
  const body = rawImage(sizeBytes)
  for (let at = 4096; at < sizeBytes; at += 4096) body.writeUInt32LE(at, at)
  return body
}

for (const [what, pack] of [
  ['a download', (body: Buffer) => body],
  ['a compressed download', (body: Buffer) => gzipSync(body)],
] as const) {
  heal(
    `${what} is fetched once more; while its source has something else it has failed`,
    async () => {
      const web = await Web.start()
      const server = await serving()
      try {
        const body = image(mebibyte)
        const url = web.serve('/disk.img', pack(body)).href
        const uuid = await fetched(server, 'download', { url })
        damage(server, uuid, 5000)
        web.serve('/disk.img', pack(image(mebibyte - 4096)))
        const report = await scrubbed(server)
        assert.equal([report.faults, report.repaired], [1, 0])
        const { json } = await askJson(server, 'GET', '/v1/backing-images/base')
        assert.is(json.state, 'failed')
        const refused = await ask(server, 'GET', '/v1/backing-images/base/download')
        assert.is(refused.status, 404)
        assert.match(refused.text, '"state":"failed"')
        web.serve('/disk.img', pack(body))
        await assertHealed(server, body)
      } finally {
        await server.close()
        await web.stop()
      }
    },
  )
}

heal(
  'an image of another manager comes back from there, and only its damaged block moves',
  async () => {
    const [there, here] = [await serving(), await serving()]
    try {
      const body = image(12 * mebibyte)
      await put(there, 'base', body)
      const uuid = await fetched(here, 'sync', { from: there.url, name: 'base' })
      damage(here, uuid, 5 * mebibyte)
      const before = await servedBytes(there)
      await assertHealed(here, body)
      const moved = (await servedBytes(there)) - before
      assert.ok(moved < 5 * mebibyte, `${moved} bytes moved`)
      assert.ok(moved >= 4 * mebibyte, `${moved} bytes moved`)
    } finally {
      await here.close()
      await there.close()
    }
  },
)

async function servedBytes(server: Serving): Promise<number> {
  const { text } = await ask(server, 'GET', '/metrics')
  return Number(/^backing_image_manager_served_bytes_total (\d+)$/m.exec(text)?.[1])
}

heal.run()
