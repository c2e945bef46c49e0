// What is asked for again, and what is not.

import { ImageError } from '@backing-image/core'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { again } from './again.ts'

const trying = suite('again')

/** Fails so often, then resolves to how often it was asked. */
function failing(times: number, error: Error): () => Promise<number> {
  let asked = 0
  return async () => {
    asked += 1
    if (asked <= times) throw error
    return asked
  }
}

const away = new ImageError('unavailable', 'away')
const never = new AbortController().signal

trying('what may go away by itself is asked for again', async () => {
  assert.is(await again(failing(0, away), never), 1)
  assert.is(await again(failing(1, away), never), 2)
})

trying('what does not go away is told at once', async () => {
  const damaged = new ImageError('data_loss', 'damaged')
  for (const error of [damaged, new Error('a bug')]) {
    const work = failing(1, error)
    assert.is(await again(work, never).catch((thrown: unknown) => thrown), error)
    assert.is(await work(), 2)
  }
})

trying('nobody who is told to stop waits', async () => {
  const stopping = new AbortController()
  const beganAtMs = performance.now()
  const work = again(failing(9, away), stopping.signal).catch((thrown: unknown) => thrown)
  setTimeout(() => stopping.abort(new Error('enough')), 20)
  assert.is(((await work) as Error).message, 'enough')
  assert.ok(performance.now() - beganAtMs < 900)
})

trying.run()
