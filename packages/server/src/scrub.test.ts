import * as assert from 'uvu/assert'
import { suite } from 'uvu'
import type { ScrubReport } from '@backing-image/core'
import { rawImage } from '@backing-image/core/testing'
import { ConfigError, readConfig } from './config.ts'
import { runHere } from './testing/processes.ts'
import { type Serving, ask, eventually, put, serving } from './testing/serving.ts'

const scrub = suite('scrub')

let server: Serving
scrub.before.each(async () => {
  server = await serving()
})
scrub.after.each(async () => {
  await server.close()
})

async function request(method: string, path: string, body?: string, accept?: string) {
  const answer = await ask(server, method, `/v1/scrub${path}`, {
    ...(body === undefined ? {} : { body }),
    ...(accept === undefined ? {} : { headers: { accept } }),
  })
  const isJson = answer.headers['content-type']?.includes('json') ?? false
  const json = (isJson ? JSON.parse(answer.text) : {}) as ScrubReport & {
    data: ScrubReport[]
    code: string
    detail: string
  }
  return { ...answer, json }
}

/** The report when it has ended. */
async function whole(id: string): Promise<ScrubReport> {
  let report: ScrubReport | undefined
  await eventually(async () => {
    report = (await request('GET', `/${id}`)).json
    return report.state !== 'running'
  })
  if (!report) throw new Error('there is no report')
  return report
}

/** Flips a bit of the only image. */
async function damage(): Promise<void> {
  const { uuid } = await put(server, 'debian', rawImage(4096))
  const object = server.backend.store.objects.get(`debian-${uuid}/backing`)
  if (object) object.body[600] = 1
}

scrub('a scrub is answered at once, and its Location has the report', async () => {
  await put(server, 'debian', rawImage(4096))
  const { status, headers, json } = await request('POST', '')
  assert.is(status, 202)
  assert.is(headers.location, `${server.url}/v1/scrub/${json.id}`)
  assert.equal([json.state, json.repair, json.endedAt], ['running', false, null])
  const report = await whole(json.id)
  assert.equal([report.state, report.faults], ['done', 0])
  const { json: list } = await request('GET', '')
  assert.equal(
    list.data.map(({ id, findings }) => [id, findings]),
    [[json.id, undefined]],
  )
})

scrub('steps, rate and repair are taken from the body, and nothing else is', async () => {
  const good = '{"repair":true,"steps":["marks"],"rate":"1MiB"}'
  const { json } = await request('POST', '', good)
  assert.equal([json.repair, json.rate, json.steps.length], [true, 1024 ** 2, 1])
  await whole(json.id)
  for (const [body, detail] of [
    ['{', 'no JSON'],
    ['[]', 'expected as body'],
    ['{"reapir":true}', 'nothing else'],
    ['{"repair":"yes"}', 'nothing else'],
    ['{"steps":["magic"]}', 'records'],
    ['{"rate":"0"}', 'over 0'],
    ['{"rate":"fast"}', '512MiB'],
  ]) {
    const bad = await request('POST', '', body)
    assert.equal([bad.status, bad.json.code], [400, 'invalid_request'], body)
    assert.match(bad.json.detail, detail ?? '')
  }
  assert.is((await request('POST', '?repair=true')).status, 400)
  assert.is((await request('GET', '')).json.data.length, 1)
})

scrub('while one runs another is 409, and names it; it can be cancelled', async () => {
  const { uuid } = await put(server, 'debian', rawImage(4096))
  let go = (): void => {}
  const held = new Promise<void>((resolve) => (go = resolve))
  server.backend.before = async (verb, key) => {
    if (verb === 'get' && key === `debian-${uuid}/backing`) await held
  }
  const { json } = await request('POST', '')
  const { status, json: refusal } = await request('POST', '')
  assert.equal([status, refusal.code], [409, 'already_exists'])
  assert.match(refusal.detail, json.id)
  assert.is((await request('DELETE', `/${json.id}`)).status, 204)
  go()
  assert.is((await whole(json.id)).state, 'cancelled')
  assert.is((await request('DELETE', `/${json.id}`)).status, 204, 'now its report')
  assert.is((await request('GET', `/${json.id}`)).status, 404)
  assert.is((await request('DELETE', '/0123456789abcdef')).status, 404)
  assert.is((await request('GET', '/running')).status, 400)
})

scrub('a report is text for who wants text, and JSON for all others', async () => {
  await damage()
  const { json } = await request('POST', '', '{"steps":["digests"]}')
  await whole(json.id)
  for (const accept of ['text/plain', 'text/plain, */*;q=0.1', 'application/json;q=0.5, text/*']) {
    const { headers, text } = await request('GET', `/${json.id}`, undefined, accept)
    assert.match(headers['content-type'] ?? '', 'text/plain')
    assert.match(text, /^FAULT digests: .*debian 1/m)
    assert.match(text, /^ {6}expected: sha512:[0-9a-f]{128}$/m)
    assert.match(text, /1 fault, 0 notes, 0 repaired\.\n$/)
  }
  for (const accept of [
    '*/*',
    'application/json',
    'application/*, text/plain;q=0.5',
    'image/png',
  ]) {
    const { headers } = await request('GET', `/${json.id}`, undefined, accept)
    assert.match(headers['content-type'] ?? '', 'application/json', accept)
  }
})

scrub('the log tells of a scrub that ended, and of each fault', async () => {
  await damage()
  const { json } = await request('POST', '', '{"steps":["digests"]}')
  await whole(json.id)
  const ended = server.lines.find(({ msg }) => msg === 'scrub ended')
  assert.equal([ended?.['id'], ended?.['faults'], ended?.['bytes']], [json.id, 1, 8192])
  const fault = server.lines.find(({ msg }) => msg === 'the store has a fault')
  assert.is(fault?.['step'], 'digests')
})

scrub('who may only read may read reports, and begin none', async () => {
  await server.close()
  server = await serving({ apiToken: 'write', apiReadToken: 'read' })
  const headers = { authorization: 'Bearer read' }
  assert.is((await ask(server, 'GET', '/v1/scrub', { headers })).status, 200)
  assert.is((await ask(server, 'POST', '/v1/scrub', { headers })).status, 403)
  assert.is((await ask(server, 'DELETE', '/v1/scrub/0123456789abcdef', { headers })).status, 403)
  assert.is((await ask(server, 'POST', '/v1/scrub')).status, 401)
})

scrub('the command prints the report, and fails when there is a fault', async () => {
  await put(server, 'base', rawImage(8192))
  const run = (...args: string[]) =>
    runHere(['scrub', ...args], { BACKING_IMAGE_MANAGER_URL: server.url })
  const clean = await run()
  assert.equal([clean.code, clean.stderr], [0, ''])
  assert.match(clean.stdout, /^Scrub [0-9a-f]{16}: done\nStarted .* dry run: nothing was changed/)
  await damage()
  const faulty = await run('--step', 'digests', 'sizes', '--rate', '1GiB', '-o', 'json')
  assert.is(faulty.code, 1)
  assert.match(faulty.stderr, /^backing-image-manager: A fault was found in the store\.\n$/)
  const report = JSON.parse(faulty.stdout) as ScrubReport
  assert.equal([report.rate, report.steps.length, report.faults], [1024 ** 3, 2, 1])
  const begun = await run('--no-wait', '--repair', '-o', 'yaml')
  assert.is(begun.code, 0)
  assert.match(begun.stdout, /^state: running$/m)
  assert.match(begun.stdout, /^repair: true$/m)
  const [{ id } = { id: '' }] = (await request('GET', '')).json.data
  await whole(id)
})

scrub('the command refuses what it does not know before it asks the server', async () => {
  const run = async (...args: string[]) => await runHere(['scrub', ...args], { PORT: '1' })
  for (const args of [
    ['--step', 'magic'],
    ['--rate', 'fast'],
    ['-o', 'table'],
  ]) {
    assert.is((await run(...args)).code, 2, args.join(' '))
  }
  assert.is((await run()).code, 1, 'nobody answers')
  const { stdout } = await run('--help')
  for (const part of ['orphans', '--repair', 'never touched', 'exit code']) {
    assert.match(stdout, part)
  }
})

scrub('SCRUB_INTERVAL and SCRUB_RATE are read, and refused where they mean nothing', () => {
  const { scrub: read } = readConfig({ SCRUB_INTERVAL: '168h', SCRUB_RATE: '20MiB' })
  assert.equal(read, { intervalMs: 168 * 3_600_000, bytesPerSecond: 20 * 1024 ** 2 })
  assert.equal(readConfig({}).scrub, { bytesPerSecond: 100 * 1024 ** 2 })
  for (const env of [
    { SCRUB_INTERVAL: '59s' },
    { SCRUB_INTERVAL: '8761h' },
    { SCRUB_INTERVAL: '7d' },
    { SCRUB_RATE: '0' },
    { SCRUB_RATE: '1MB' },
  ]) {
    assert.throws(
      () => readConfig(env),
      (error: unknown) => error instanceof ConfigError && error.faults.length === 1,
    )
  }
})

scrub.run()
