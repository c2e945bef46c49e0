// The same content is stored once, and nobody loses it: one of those who share is deleted while another
// server publishes a further one, each stopped at every named place. For any backend.

import assert from 'node:assert/strict'
import { type Backend, readAll } from '../backend.ts'
import { isImageError } from '../errors.ts'
import { catalogPrefix } from '../layout.ts'
import type { Step } from '../publish.ts'
import { parseRecord } from '../record.ts'
import { ImageStore } from '../store.ts'
import { type Case, content, gate, read, same, soon } from './conformance/case.ts'
import { rawImage } from './images.ts'

const publisherSteps: Step[] = [
  'claimed',
  'bytes stored',
  'config stored',
  'record created',
  'record read back',
  'marks looked for',
  'published',
  'spare marked',
  'spare not needed',
  'config deleted',
  'bytes deleted',
  'spare deleted',
]

/** Of who deletes the last image that names the bytes. */
const removerSteps: Step[] = [
  'records removed',
  'mark put',
  'catalog listed',
  'config deleted',
  'bytes deleted',
]

/** Where another image names them. */
const leavingSteps: Step[] = ['records removed', 'mark put', 'catalog listed', 'mark taken away']

/** A server that stops once, at one step, from when it is asked to. */
class Pausing {
  readonly #step: Step
  readonly reached = gate()
  readonly #goOn = gate()
  #isArmed = false

  constructor(step: Step) {
    this.#step = step
  }

  readonly at = async (step: Step): Promise<void> => {
    if (!this.#isArmed || step !== this.#step) return
    this.#isArmed = false
    this.reached.open()
    await this.#goOn.opened
  }

  arm(): void {
    this.#isArmed = true
  }

  goOn(): void {
    this.#goOn.open()
  }
}

function image(seed: number): Buffer {
  const disk = rawImage(4096)
  content(4096 - 512, seed).copy(disk, 512)
  return disk
}

async function put(store: ImageStore, name: string, seed: number = 1): Promise<void> {
  const description = {
    sourceType: 'upload' as const,
    parameters: {},
    labels: {},
    dataEngine: 'v1' as const,
    minNumberOfCopies: 0,
    nodeSelector: [],
    diskSelector: [],
    expected: [],
  }
  await store.ingest({ name, sizeMax: 2 ** 20, description }, async function* () {
    yield image(seed)
  })
}

/** What is published is whole, and all bytes that are there are some version's. */
async function assertWhole(store: ImageStore, backend: Backend): Promise<void> {
  const named = new Set<string>()
  const folders = new Set<string>()
  for await (const { key } of backend.list('')) {
    if (!key.startsWith('.')) folders.add(key)
    if (!key.startsWith(catalogPrefix)) continue
    const record = parseRecord(key, (await read(backend, key)).toString())
    for (const each of record.keys) named.add(each)
    const { read: open } = await store.open(record.name, { version: record.version })
    same(await readAll(await open()), image(1), `the bytes of ${key}`)
  }
  for (const key of folders) {
    const bytes = key.replace(/[^/]+$/, 'backing')
    assert.ok(named.has(bytes), `${key} is left, and named by no record`)
    assert.ok(folders.has(bytes), `${key} is left without its bytes`)
  }
}

interface Meeting {
  paused: 'publisher' | 'remover'
  step: Step
  /** Whether nobody else names the bytes. */
  isLast: boolean
}

/** `one` and `two` share; `one` is deleted while `three` is published. */
async function meet(backend: Backend, other: Backend, meeting: Meeting): Promise<void> {
  const pausing = new Pausing(meeting.step)
  const { at } = pausing
  const isPublisher = meeting.paused === 'publisher'
  const publisher = await ImageStore.open(backend, isPublisher ? { at } : {})
  const remover = await ImageStore.open(other, isPublisher ? {} : { at })
  try {
    await put(remover, 'one')
    if (!meeting.isLast) await put(remover, 'two')
    const publish = async (): Promise<void> => await put(publisher, 'three')
    const remove = async (): Promise<void> => await remover.remove('one')
    const [first, second] = isPublisher ? [publish, remove] : [remove, publish]
    pausing.arm()
    const [paused] = [Promise.allSettled([first()])]
    await soon(pausing.reached.opened, `"${meeting.step}" is reached`, 60_000)
    const [whole] = await Promise.allSettled([second()])
    pausing.goOn()
    const [late] = await paused
    const [published, removed] = isPublisher ? [late, whole] : [whole, late]
    if (removed?.status === 'rejected') throw removed.reason
    if (published?.status === 'rejected') {
      assert.ok(isImageError(published.reason, 'aborted'), String(published.reason))
    }
    const names = (await remover.list()).map(({ name }) => name)
    const expected = published?.status === 'rejected' ? [] : ['three']
    if (!meeting.isLast) expected.push('two')
    for (const name of ['one', 'two', 'three']) {
      const isThere = await publisher.open(name).then(
        () => true,
        (error: unknown) => {
          if (isImageError(error, 'not_found')) return false
          throw error
        },
      )
      assert.equal(isThere, expected.includes(name), `${name} is there, of ${names.join()}`)
    }
    await assertWhole(publisher, backend)
  } finally {
    pausing.goOn()
    await publisher.close()
    await remover.close()
  }
}

function meetings(paused: Meeting['paused'], isLast: boolean, steps: readonly Step[]): Case[] {
  const who = isLast ? 'the only one that has its bytes' : 'one of two that share them'
  return steps.map((step) => ({
    name: `an image is published while ${who} is deleted, the ${paused} stopping at "${step}"`,
    run: (backend, other) => meet(backend, other, { paused, step, isLast }),
  }))
}

/** Run as those of `conformance`: `other` is another server's view of the same store. */
export const sharingCases: Case[] = [
  {
    name: 'the same content is stored once, whatever the names, until the last of them goes',
    async run(backend, other) {
      const stores = [await ImageStore.open(backend), await ImageStore.open(other)]
      const [one, two] = stores
      assert.ok(one && two)
      try {
        await put(one, 'one')
        await put(one, 'one')
        await put(two, 'two')
        await put(two, 'else', 2)
        const copies = async (): Promise<number> => {
          let count = 0
          for await (const { key } of backend.list('')) count += Number(key.endsWith('/backing'))
          return count
        }
        assert.equal(await copies(), 2)
        await two.remove('one')
        assert.equal(await copies(), 2)
        same(await readAll(await (await one.open('two')).read()), image(1), 'what is left')
        await one.remove('two')
        assert.equal(await copies(), 1)
      } finally {
        for (const store of stores) await store.close()
      }
    },
  },
  ...meetings('publisher', true, publisherSteps),
  ...meetings('publisher', false, publisherSteps),
  ...meetings('remover', true, removerSteps),
  ...meetings('remover', false, leavingSteps),
]
