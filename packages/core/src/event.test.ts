// Listeners are told at once, progress at most once a second, and nobody after having left.

import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { OwnJob } from './claim.ts'
import { type StoreEvent, StoreEvents } from './event.ts'
import { imageOfJob } from './image.ts'
import { description } from './testing/rig.ts'

const events = suite('event')

function work(uuid: string): OwnJob {
  return new OwnJob({
    layout: 1,
    name: 'jammy',
    uuid,
    epoch: 1,
    owner: 'me',
    version: '1',
    versionGiven: true,
    size: 1000,
    description: description(),
    createdAt: '2026-08-01T09:05:07.000Z',
  })
}

/** Runs `claim` with a clock that stands still until it is moved. */
function withClock(claim: (pass: (ms: number) => void) => void): void {
  const real = performance.now.bind(performance)
  let nowMs = 5000
  performance.now = () => nowMs
  try {
    claim((ms) => (nowMs += ms))
  } finally {
    performance.now = real
  }
}

function processed(heard: readonly StoreEvent[]): number[] {
  return heard.map((event) => (event.kind === 'image' ? event.image.processedSize : -1))
}

events('progress of one image is told at once, then at most once a second', () => {
  withClock((pass) => {
    const told = new StoreEvents()
    const heard: StoreEvent[] = []
    told.subscribe((event) => heard.push(event))
    const own = work('00000001')
    for (let step = 0; step < 25; step++) {
      own.processedSize += 10
      told.progress(own)
      pass(100)
    }
    assert.equal(processed(heard), [10, 110, 210])
  })
})

events('the progress of one image holds back neither that of another nor its outcome', () => {
  withClock(() => {
    const told = new StoreEvents()
    const heard: StoreEvent[] = []
    told.subscribe((event) => heard.push(event))
    const [one, other] = [work('00000001'), work('00000002')]
    told.progress(one)
    told.progress(other)
    told.image({ ...imageOfJob(one.job()), state: 'failed', processedSize: 7 })
    told.deleted('jammy', '1')
    assert.equal(processed(heard), [0, 0, 7, -1])
    assert.equal(heard.at(-1), { kind: 'deleted', name: 'jammy', version: '1' })
  })
})

events('progress that nobody hears does not hold back the first that somebody does', () => {
  withClock(() => {
    const told = new StoreEvents()
    const own = work('00000001')
    told.progress(own)
    const heard: StoreEvent[] = []
    told.subscribe((event) => heard.push(event))
    told.progress(own)
    assert.is(heard.length, 1)
  })
})

events('who has left hears nothing, the others still do', () => {
  const told = new StoreEvents()
  const stays: StoreEvent[] = []
  const leaves: StoreEvent[] = []
  told.subscribe((event) => stays.push(event))
  const leave = told.subscribe((event) => leaves.push(event))
  told.deleted('jammy', '1')
  leave()
  leave()
  told.deleted('jammy', '2')
  assert.is(stays.length, 2)
  assert.is(leaves.length, 1)
  assert.is(told.isHeard, true)
})

events.run()
