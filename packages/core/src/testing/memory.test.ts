// The memory backend keeps the contract, alone and shared; and its hook, clock and deaths do
// what tests rely on.

import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { type Bytes, type UnfinishedPut, bytesOf, readAll } from '../backend.ts'
import { ImageError, isImageError } from '../errors.ts'
import { type Subject, conformance, resumableConformance, runCase } from './conformance.ts'
import { unfinishedConformance } from './conformance.ts'
import { gate } from './conformance/case.ts'
import { MemoryBackend, MemoryStore } from './memory.ts'

const memory = suite('memory')

/** A store seen by one process, or by two. */
async function subject(instances: 1 | 2, goesOn = false): Promise<Subject> {
  const shared = new MemoryStore()
  const backend = new MemoryBackend({ shared, goesOn })
  return {
    backend,
    other: instances === 1 ? backend : new MemoryBackend({ shared, goesOn }),
    close: async () => undefined,
    leftovers: async () => [...shared.unfinished.values()].map(({ key }) => key),
  }
}

for (const each of [...conformance, ...unfinishedConformance, ...resumableConformance]) {
  memory(`alone: ${each.name}`, async () => await runCase(each, async () => await subject(1)))
  memory(`shared: ${each.name}`, async () => await runCase(each, async () => await subject(2)))
}

for (const each of [...unfinishedConformance, ...resumableConformance]) {
  memory(`goes on: ${each.name}`, async () => {
    await runCase(each, async () => await subject(2, true))
  })
}

async function unfinishedOf(backend: MemoryBackend): Promise<UnfinishedPut[]> {
  const puts: UnfinishedPut[] = []
  for await (const put of backend.unfinished()) puts.push(put)
  return puts
}

async function codeOf(work: Promise<unknown>): Promise<string> {
  return await work.then(
    () => 'success',
    (error: unknown) => (isImageError(error) ? error.code : String(error)),
  )
}

memory('the hook stops a verb before it has any effect, and may fail it', async () => {
  const backend = new MemoryBackend()
  const { opened, open } = gate()
  const seen: string[] = []
  backend.before = async (verb, key) => {
    seen.push(`${verb} ${key}`)
    await opened
  }
  const writing = backend.put('a', bytesOf('a'))
  await new Promise((resolve) => setImmediate(resolve))
  assert.equal(seen, ['put a'])
  assert.is(backend.store.objects.size, 0)
  assert.is(backend.store.unfinished.size, 0)
  open()
  await writing
  backend.before = () => {
    throw new ImageError('unavailable', 'The disk is away.')
  }
  assert.is(await codeOf(backend.delete('a')), 'unavailable')
  assert.is(await codeOf(backend.list('')[Symbol.asyncIterator]().next()), 'unavailable')
  assert.is(backend.store.objects.size, 1)
})

memory('a hook that hangs is left by aborting', async () => {
  const hangs = new Promise<void>(() => undefined)
  const backend = new MemoryBackend({ before: async () => await hangs })
  const controller = new AbortController()
  const writing = codeOf(backend.put('a', bytesOf('a'), { signal: controller.signal }))
  controller.abort('stop')
  assert.is(await writing, 'stop')
})

memory(
  'a killed owner has no effect any more, and its unfinished puts stay to be found',
  async () => {
    const shared = new MemoryStore()
    const victim = new MemoryBackend({ shared, owner: 'victim' })
    const survivor = new MemoryBackend({ shared })
    const { opened, open } = gate()
    async function* slow(): Bytes {
      yield Buffer.from('a')
      await opened
    }
    const writing = codeOf(victim.put('a', slow()))
    await new Promise((resolve) => setImmediate(resolve))
    assert.is(await survivor.isGone('victim'), false)
    shared.kill('victim')
    open()
    assert.is(await writing, 'unavailable')
    assert.is(await codeOf(victim.delete('b')), 'unavailable')
    assert.is(await survivor.isGone('victim'), true)
    assert.is(await survivor.isGone(survivor.owner), false)
    assert.is(shared.objects.size, 0)
    const [left, ...more] = await unfinishedOf(survivor)
    assert.is(left?.key, 'a')
    assert.is(left?.owner, 'victim')
    assert.is(more.length, 0)
    await survivor.discard(left?.id ?? '')
    assert.equal(await unfinishedOf(survivor), [])
  },
)

memory('a put that was discarded while it ran commits nothing', async () => {
  const backend = new MemoryBackend()
  async function* discarding(): Bytes {
    yield Buffer.from('a')
    for (const { id } of await unfinishedOf(backend)) await backend.discard(id)
  }
  assert.is(await codeOf(backend.put('a', discarding())), 'unavailable')
  assert.is(backend.store.objects.size, 0)
})

memory('the clock is what a test sets, and every change moves it on', async () => {
  const backend = new MemoryBackend()
  backend.store.now = 1_000n
  const first = await backend.put('a', bytesOf('a'))
  const second = await backend.put('b', bytesOf('b'))
  assert.ok(first.modifiedAt > 1_000n && second.modifiedAt > first.modifiedAt)
  assert.ok(second.modifiedAt < 2_000n)
})

memory('space is what the objects leave, and what does not fit is refused', async () => {
  const backend = new MemoryBackend()
  backend.store.totalBytes = 10
  await backend.put('a', bytesOf('12345678'))
  assert.equal(await backend.space(), { freeBytes: 2, totalBytes: 10 })
  assert.is(await codeOf(backend.put('b', bytesOf('123'))), 'resource_exhausted')
  assert.is(await codeOf(backend.put('b', bytesOf(''), { size: 3 })), 'resource_exhausted')
  await backend.put('a', bytesOf('12'))
  await backend.put('b', bytesOf('123'))
  await backend.delete('a')
  assert.equal(await backend.space(), { freeBytes: 7, totalBytes: 10 })
  assert.is((await readAll(await backend.get('b'))).toString(), '123')
})

memory.run()
