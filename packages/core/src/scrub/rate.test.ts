// A scrub reads at its rate: evenly, without bursts, holes like everything else.

import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { Rate } from './rate.ts'

const rate = suite('scrub: rate')

/** A clock that only sleeping moves. */
function clock(): { nowMs: number; now: () => number; sleep: (ms: number) => Promise<void> } {
  const time = {
    nowMs: 5000,
    now: () => time.nowMs,
    sleep: async (ms: number) => void (time.nowMs += ms),
  }
  return time
}

async function* chunks(count: number, bytes: number): AsyncGenerator<Uint8Array> {
  for (let index = 0; index < count; index++) yield new Uint8Array(bytes)
}

const { signal } = new AbortController()

rate('so many bytes take so long, and none passes early', async () => {
  const time = clock()
  const limit = new Rate(1000, time)
  const at: number[] = []
  for await (const chunk of limit.pace(chunks(40, 100), signal)) {
    at.push(time.nowMs - 5000)
    assert.is(chunk.length, 100)
  }
  assert.is(at.at(-1), 3900, '4000 bytes at 1000 a second, less the tenth that is not waited for')
  for (const [index, ms] of at.entries()) assert.is(ms, index * 100)
})

rate('after a pause it does not catch up', async () => {
  const time = clock()
  const limit = new Rate(1000, time)
  for await (const chunk of limit.pace(chunks(1, 100), signal)) assert.is(chunk.length, 100)
  time.nowMs += 60_000
  const fromMs = time.nowMs
  for await (const chunk of limit.pace(chunks(10, 100), signal)) assert.is(chunk.length, 100)
  assert.is(time.nowMs - fromMs, 900)
})

rate('what is slower by itself is not slowed', async () => {
  const time = clock()
  const limit = new Rate(1000, time)
  async function* slow(): AsyncGenerator<Uint8Array> {
    for await (const chunk of chunks(10, 100)) {
      time.nowMs += 100
      yield chunk
    }
  }
  for await (const chunk of limit.pace(slow(), signal)) assert.is(chunk.length, 100)
  assert.is(time.nowMs, 6000)
})

rate('two readers share one rate', async () => {
  const time = clock()
  const limit = new Rate(1000, time)
  const read = async (): Promise<void> => {
    for await (const chunk of limit.pace(chunks(10, 100), signal)) assert.is(chunk.length, 100)
  }
  await read()
  await read()
  assert.is(time.nowMs, 5000 + 1900)
})

rate('who is cancelled does not wait', async () => {
  const cancelling = new AbortController()
  const limit = new Rate(1)
  const reading = (async () => {
    for await (const _ of limit.pace(chunks(2, 1_000_000), cancelling.signal)) void _
  })()
  cancelling.abort(new Error('cancelled'))
  const error: unknown = await reading.catch((each: unknown) => each)
  assert.is(String(error), 'Error: cancelled')
})

rate.run()
