// Who watches is told of changes, not too often, and does not hold us up.

import { Writable } from 'node:stream'
import { setTimeout as delay } from 'node:timers/promises'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { Lines, MemoryFiles } from '../testing/memory-files.ts'
import { Watch } from './watch.ts'

const watching = suite('watch')
const intervalMs = 20
const launch = { path: '/d/a', uuid: 'u', diskUuid: '', expectedChecksum: '', size: 512 }

function setUp() {
  const files = new MemoryFiles()
  const log = new Lines()
  const watch = new Watch({ list: () => files.list(), log, intervalMs })
  return { files, log, watch }
}

/** A stream that counts what it is told; with `isStuck` it takes none of it. */
function reader(isStuck = false) {
  let count = 0
  const stream = new Writable({
    objectMode: true,
    write(_chunk, _encoding, done) {
      count += 1
      if (!isStuck) done()
    },
  })
  return { stream, count: () => count }
}

const looks = (files: MemoryFiles) => files.asked.filter((each) => each === 'list').length

async function until(isSo: () => boolean): Promise<void> {
  for (let tries = 0; !isSo() && tries < 500; tries += 1) await delay(5)
  assert.ok(isSo(), 'it did not come about')
}

watching('nothing is said without a change; several changes at once are one message', async () => {
  const { files, watch } = setUp()
  const { stream, count } = reader()
  watch.add(stream)
  await until(() => looks(files) > 3)
  assert.is(count(), 0)
  await files.fetch({ ...launch, dataEngine: 'v1' }, '/s')
  files.change('/d/a', { progress: 7 })
  await until(() => count() > 0)
  const seen = looks(files)
  await until(() => looks(files) > seen + 2)
  assert.is(count(), 1)
  watch.close()
  assert.ok(stream.writableEnded)
})

watching('nobody looks at the files while nobody watches; who comes back is told', async () => {
  const { files, watch } = setUp()
  await delay(intervalMs * 3)
  assert.is(looks(files), 0)
  const first = reader()
  watch.add(first.stream)
  await until(() => looks(files) > 1)
  first.stream.destroy()
  await delay(intervalMs)
  const after = looks(files)
  await files.fetch({ ...launch, dataEngine: 'v1' }, '/s')
  await delay(intervalMs * 4)
  assert.is(looks(files), after)
  const second = reader()
  watch.add(second.stream)
  await until(() => second.count() === 1)
  watch.close()
})

watching('who takes nothing is dropped after a hundred, and nobody else', async () => {
  const { files, watch } = setUp()
  await files.fetch({ ...launch, dataEngine: 'v1' }, '/s')
  const stuck = reader(true)
  const well = reader()
  watch.add(stuck.stream)
  watch.add(well.stream)
  let progress = 0
  while (!stuck.stream.writableEnded && progress < 2000) {
    files.change('/d/a', { processedSize: (progress += 1) })
    await delay(5)
  }
  assert.ok(stuck.stream.writableEnded)
  assert.is(stuck.stream.writableLength, 100)
  const before = well.count()
  files.change('/d/a', { processedSize: -1 })
  await until(() => well.count() > before)
  watch.close()
})

watching('files that can not be listed are told once, and change nothing', async () => {
  const { files, log, watch } = setUp()
  const { stream, count } = reader()
  watch.add(stream)
  await until(() => looks(files) > 1)
  for (let round = 0; round < 3; round += 1) {
    files.trouble = new Error('the disk hangs')
    const seen = looks(files)
    await until(() => looks(files) > seen)
  }
  assert.is(log.all.filter((line) => line.includes('could not be listed')).length >= 1, true)
  assert.is(count(), 0)
  watch.close()
})

watching.run()
