// Nothing is deleted that this store did not make. Longhorn keeps its own images in the same folder,
// in the same form: they outlive every delete, sweep and restart, and are never shown as ours.

import { createHash } from 'node:crypto'
import { lstatSync, mkdirSync, readFileSync, readlinkSync, readdirSync, symlinkSync } from 'node:fs'
import { utimesSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { nodeDisk } from '@backing-image/backend-local'
import { withFolder } from '@backing-image/backend-local/testing'
import { type ImageStore, isImageError } from '@backing-image/core'
import { openStore, upload } from './store.ts'

const foreign = suite('store: foreign neighbours')
const name = 'base'
const uuid = '0badcafe'
const longAgo = new Date('2020-01-01T00:00:00Z')

function write(path: string, content: string): void {
  writeFileSync(path, content)
  utimesSync(path, longAgo, longAgo)
}

/** What others may keep beside us: an image of the same name, one in the making, and odd files. */
function makeNeighbours(root: string): void {
  const image = join(root, `${name}-${uuid}`)
  mkdirSync(image)
  write(join(image, 'backing'), 'not ours')
  write(join(image, 'backing.cfg'), `{"name":"${name}","uuid":"${uuid}","state":"ready"}`)
  const unfinished = join(root, `${name}-11111111`)
  mkdirSync(unfinished)
  write(join(unfinished, 'backing.tmp'), 'half of it')
  mkdirSync(join(root, `${name}-22222222`))
  mkdirSync(join(root, 'lost+found'))
  write(join(root, 'longhorn-disk.cfg'), '{"diskUUID":"0"}')
  write(join(root, 'Some file.txt'), 'a note')
  symlinkSync(`${name}-${uuid}`, join(root, `${name}-33333333`))
}

/** Every entry that is not ours, with what it holds and when that was last changed. */
function neighboursOf(root: string, ours: readonly string[] = []): string[] {
  return readdirSync(root, { recursive: true, encoding: 'utf8' })
    .filter((path) => !path.startsWith('.') && !ours.some((own) => path.startsWith(own)))
    .map((path) => `${path} ${contentOf(join(root, path))}`)
    .toSorted()
}

function contentOf(path: string): string {
  const stats = lstatSync(path)
  if (stats.isSymbolicLink()) return `-> ${readlinkSync(path)}`
  if (!stats.isFile()) return 'folder'
  const digest = createHash('sha256').update(readFileSync(path)).digest('hex')
  return `${digest} ${stats.ino} ${stats.mtimeMs} ${stats.ctimeMs}`
}

async function assertAbsent(work: Promise<unknown>): Promise<void> {
  const failure = await work.catch((error: unknown) => error)
  assert.ok(isImageError(failure, 'not_found'), String(failure))
}

async function assertNotShown(store: ImageStore): Promise<void> {
  assert.equal(await store.list(), [])
  assert.equal(await store.versions(name), [])
  await assertAbsent(store.get(name))
  await assertAbsent(store.get(name, { uuid }))
  await assertAbsent(store.open(name))
  await assertAbsent(store.openFile(name, uuid))
  await assertAbsent(store.rollback(name, '1'))
}

foreign('an image that is not ours is neither shown, served nor deleted', () =>
  withFolder(async (root) => {
    makeNeighbours(root)
    const before = neighboursOf(root)
    const { store, close } = await openStore(root, nodeDisk)
    await assertNotShown(store)
    await assertAbsent(store.remove(name))
    await store.sweep()
    await store.tend()
    await close()
    assert.equal(neighboursOf(root), before)
  }),
)

foreign('uploads, deletes and sweeps of the same name leave it alone', () =>
  withFolder(async (root) => {
    makeNeighbours(root)
    const before = neighboursOf(root)
    const first = await openStore(root, nodeDisk)
    const image = await upload(first.store, name, Buffer.from('ours'))
    await upload(first.store, name, Buffer.from('ours too'))
    await first.store.rollback(name, image.version)
    await upload(first.store, name, Buffer.alloc(0)).catch(() => {})
    const ours = (await first.store.versions(name)).map((each) => `${name}-${each.uuid}`)
    assert.not.ok(ours.includes(`${name}-${uuid}`))
    assert.equal(neighboursOf(root, ours), before)
    await first.store.remove(name, { version: image.version })
    await first.store.remove(name)
    await first.close()
    const second = await openStore(root, nodeDisk)
    await second.store.sweep()
    await assertNotShown(second.store)
    await second.close()
    assert.equal(neighboursOf(root), before)
  }),
)

foreign.run()
