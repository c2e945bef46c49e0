// A scrub of real media: a folder that somebody has damaged, with Longhorn's own files beside ours, and
// a bucket in which uploads were left.

import { lstatSync, readFileSync, readdirSync, rmSync, truncateSync } from 'node:fs'
import { mkdirSync, utimesSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { nodeDisk } from '@backing-image/backend-local'
import { withFolder } from '@backing-image/backend-local/testing'
import { S3Backend } from '@backing-image/backend-s3'
import { FakeS3 } from '@backing-image/backend-s3/testing'
import { ImageStore, type ScrubReport, type ScrubRequest } from '@backing-image/core'
import { rawImage } from '@backing-image/core/testing'
import { startServer } from '../testing/processes.ts'
import { openStore, upload } from './store.ts'

const scrub = suite('scrub: real media')

async function scrubbed(store: ImageStore, request: ScrubRequest = {}): Promise<ScrubReport> {
  const { id } = await store.scrubs.start(request)
  for (;;) {
    const report = await store.scrubs.get(id)
    if (report.state !== 'running') return report
    await delay(2)
  }
}

function found({ findings }: ScrubReport): string[] {
  return findings.map(({ level, step, key, repair }) => `${level} ${step} ${key} ${repair}`)
}

/** Changes one byte and leaves no other sign of it than ctime. */
function rot(path: string): void {
  const { atime, mtime } = lstatSync(path)
  const content = readFileSync(path)
  content[3000] = (content[3000] ?? 0) ^ 0x10
  writeFileSync(path, content)
  utimesSync(path, atime, mtime)
}

/** Every file that is not ours: what it holds, and all its times but that of reading. */
function foreign(root: string): string[] {
  const names = readdirSync(root, { recursive: true, encoding: 'utf8' })
  return names
    .filter((name) => name.startsWith('base-0badcafe') || name.startsWith('replicas'))
    .map((name) => {
      const { ino, mtimeMs, ctimeMs, size } = lstatSync(join(root, name))
      return `${name} ${ino} ${mtimeMs} ${ctimeMs} ${size}`
    })
    .toSorted()
}

scrub('what somebody did to the files of a folder is found, and only what is ours is mended', () =>
  withFolder(async (root) => {
    const { store, close } = await openStore(root, nodeDisk)
    const images = []
    for (const seed of [1, 2, 3, 4]) {
      const body = rawImage(8192)
      body[600] = seed
      images.push(await upload(store, 'base', body))
    }
    const [rotten, short, lost, bare] = images.map(({ uuid }) => `base-${uuid}`)
    mkdirSync(join(root, 'base-0badcafe'))
    writeFileSync(join(root, 'base-0badcafe', 'backing'), 'of Longhorn')
    writeFileSync(join(root, 'base-0badcafe', 'backing.cfg'), '{}')
    mkdirSync(join(root, 'replicas'))
    writeFileSync(join(root, 'replicas', 'volume-head.img'), 'of Longhorn')
    const before = foreign(root)
    assert.equal(found(await scrubbed(store)), [
      'note orphans base-0badcafe/backing none',
      'note orphans replicas none',
    ])
    rot(join(root, `${rotten}/backing`))
    const spoilt = readFileSync(join(root, `${rotten}/backing`))
    truncateSync(join(root, `${short}/backing`), 4096)
    rmSync(join(root, `${lost}/backing`))
    const config = join(root, `${bare}/backing.cfg`)
    const content = readFileSync(config, 'utf8')
    rmSync(config)
    const faults = found(await scrubbed(store, { repair: true })).filter((each) =>
      each.startsWith('fault'),
    )
    const [, , { version } = { version: '' }] = images
    assert.ok(faults.includes(`fault records .catalog/base/${version}.json none`), faults.join())
    assert.ok(faults.includes(`fault configs ${bare}/backing.cfg done`))
    const damaged = (step: string, id: string | undefined): boolean =>
      faults.some((each) => each.startsWith(`fault ${step} ${id}/backing `))
    assert.ok(damaged('sizes', short))
    assert.ok(damaged('digests', rotten))
    const states = (await store.versions('base')).map(({ state, uuid }) => `base-${uuid} ${state}`)
    for (const id of [rotten, short]) assert.ok(states.includes(`${id} failed`), states.join())
    assert.ok(states.includes(`${bare} ready`))
    assert.equal(readFileSync(join(root, `${rotten}/backing`)), spoilt, 'no byte is written over')
    assert.is(readFileSync(config, 'utf8'), content)
    assert.equal(foreign(root), before)
    await close()
  }),
)

scrub('holes are read at the rate like everything else', () =>
  withFolder(async (root) => {
    const { store, close } = await openStore(root, nodeDisk)
    await upload(store, 'base', rawImage(4 * 1024 * 1024))
    const report = await scrubbed(store, { steps: ['digests'] })
    assert.equal([report.faults, report.steps[0]?.bytes], [0, 4 * 1024 * 1024])
    await close()
  }),
)

scrub('the scrub of a server that was killed has failed for the next one, at once', () =>
  withFolder(async (root) => {
    const env = { BACKING_IMAGE_STORAGE_PATH: root }
    const first = await startServer({ ...env, SCRUB_RATE: '1KiB' })
    const url = `${first.url}/v1/backing-images/base`
    await fetch(url, { method: 'PUT', body: rawImage(1024 * 1024) })
    const begun = await fetch(`${first.url}/v1/scrub`, { method: 'POST' })
    const { id } = (await begun.json()) as ScrubReport
    first.child.kill('SIGKILL')
    await first.ended
    const second = await startServer(env)
    const again = await fetch(`${second.url}/v1/scrub`, { method: 'POST' })
    assert.is(again.status, 202)
    const answer = await fetch(`${second.url}/v1/scrub/${id}`)
    assert.is(((await answer.json()) as ScrubReport).state, 'failed')
    await second.stop()
  }),
)

scrub('uploads that were left in a bucket are discarded when they are old and ours', async () => {
  const fake = await FakeS3.start()
  const { endpoint, region, bucket, accessKeyId: accessKey, secretAccessKey: secretKey } = fake
  const backend = await S3Backend.open({ endpoint, region, bucket, accessKey, secretKey })
  const store = await ImageStore.open(backend)
  try {
    const { uuid } = await upload(store, 'base', rawImage(8192))
    const left = 'base-0badcafe/backing'
    for (const key of [left, 'films/alien.iso']) fake.medium.begin(key, {})
    const steps = ['unfinished']
    assert.equal(found(await scrubbed(store, { steps })), [`note unfinished ${left} possible`])
    for (const each of fake.medium.uploads.values()) each.initiatedMs -= 2 * 3_600_000
    assert.equal(found(await scrubbed(store, { steps })), [`fault unfinished ${left} possible`])
    const mended = await scrubbed(store, { steps, repair: true })
    assert.equal(found(mended), [`fault unfinished ${left} done`])
    const keys = [...fake.medium.uploads.values()].map(({ key }) => key)
    assert.equal(keys, ['films/alien.iso'])
    const object = fake.medium.objects.get(`base-${uuid}/backing`)
    if (object) object.body[600] = 1
    assert.is((await scrubbed(store)).faults, 1)
  } finally {
    await store.close()
    await backend.close()
    await fake.stop()
  }
})

scrub.run()
