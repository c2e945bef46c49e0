// Claims, beats and outcomes: who owns a piece of work, how somebody else gets it, and how its
// owner learns that it is no longer his.

import { setTimeout as pause } from 'node:timers/promises'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import type { Claim, Job, OwnJob } from './claim.ts'
import { ImageError } from './errors.ts'
import { Jobs } from './job.ts'
import { beatKey, bytesKey, claimKey, configKey, endKey, markKey } from './layout.ts'
import { MemoryBackend } from './testing/memory.ts'
import { Town, description, failure } from './testing/rig.ts'

const jobs = suite('job')
const running: Jobs[] = []

jobs.after.each(() => {
  for (const each of running.splice(0)) each.close()
})

interface Process {
  jobs: Jobs
  backend: MemoryBackend
  problems: Error[]
}

function process(medium: Town['medium'], draw?: () => string): Process {
  const backend = new MemoryBackend({ shared: medium })
  const problems: Error[] = []
  const opened = new Jobs(
    backend,
    (error) => problems.push(error),
    async () => false,
    draw,
  )
  running.push(opened)
  return { jobs: opened, backend, problems }
}

function newJob(version: string = '1') {
  return { name: 'jammy', version, versionGiven: true, size: 100, description: description() }
}

async function jobOf(of: Jobs, own: OwnJob): Promise<Job> {
  const job = await of.get(own.claim.name, own.claim.uuid)
  assert.ok(job, 'the job is gone')
  return job
}

const anEnd = { reason: 'internal' as const, message: 'broken', endedAt: '2026-08-01T00:00:00Z' }

jobs('a claim is one object, and everybody sees the work from then on', async () => {
  const { medium } = new Town()
  const [one, other] = [process(medium), process(medium)]
  const own = await one.jobs.begin(newJob())
  assert.equal([...medium.objects.keys()], [claimKey('jammy', own.claim.uuid, 1)])
  const [mine, ...more] = await one.jobs.list()
  const [theirs] = await other.jobs.list('jammy')
  assert.is(more.length, 0)
  assert.is(mine?.mine, true)
  assert.is(theirs?.mine, false)
  assert.equal(theirs?.claim, own.claim)
  assert.is(theirs?.claim.owner, one.backend.owner)
  assert.equal(await other.jobs.list('jam'), [])
})

jobs('others see a beat as it was written, the owner sees itself', async () => {
  const { medium } = new Town()
  const [one, other] = [process(medium), process(medium)]
  const own = await one.jobs.begin(newJob())
  own.state = 'in-progress'
  own.processedSize = 40
  assert.is((await jobOf(other.jobs, own)).beat.processedSize, 0)
  await one.jobs.beatAll()
  own.processedSize = 70
  const { beat } = await jobOf(other.jobs, own)
  assert.equal([beat.count, beat.state, beat.processedSize], [1, 'in-progress', 40])
  assert.is((await jobOf(one.jobs, own)).beat.processedSize, 70)
  await one.jobs.beatAll()
  assert.is((await jobOf(other.jobs, own)).beat.count, 2)
})

const uses: Record<string, (uuid: string) => string> = {
  'the bytes of somebody else': (uuid) => bytesKey('jammy', uuid),
  'a foreign file': (uuid) => `jammy-${uuid}/disk.img`,
  'a record of Longhorn': (uuid) => configKey('jammy', uuid),
  'a mark': (uuid) => markKey('jammy', uuid, 'a'),
  'a claim': (uuid) => claimKey('jammy', uuid, 1),
  'a later claim': (uuid) => claimKey('jammy', uuid, 2),
  'an outcome': (uuid) => endKey('jammy', uuid),
}

for (const [what, keyOf] of Object.entries(uses)) {
  jobs(`a uuid that ${what} goes by is not used, and what is there stays`, async () => {
    const streets = new Town()
    const { medium } = streets
    streets.plant(keyOf('00000001'), '{}')
    const drawn = ['00000001', '00000002']
    const { jobs: own } = process(medium, () => drawn.shift() ?? 'ffffffff')
    const { claim } = await own.begin(newJob())
    assert.is(claim.uuid, '00000002')
    assert.equal(streets.keys(), [claimKey('jammy', '00000002', 1), keyOf('00000001')].toSorted())
    assert.is(streets.text(keyOf('00000001')), '{}')
  })
}

jobs('another name may go by the same uuid', async () => {
  const streets = new Town()
  streets.plant('jammy-2-00000001/backing', '')
  const { jobs: own } = process(streets.medium, () => '00000001')
  assert.is((await own.begin(newJob())).claim.uuid, '00000001')
})

jobs('of two that take over the same work exactly one gets it', async () => {
  const { medium } = new Town()
  const [one, two, three] = [process(medium), process(medium), process(medium)]
  const own = await one.jobs.begin(newJob())
  const job = await jobOf(two.jobs, own)
  const taken = await Promise.all([two.jobs.takeOver(job), three.jobs.takeOver(job)])
  const [winner, ...more] = taken.filter((each) => each !== undefined)
  assert.is(more.length, 0)
  const { owner: loserOwner, epoch: oldEpoch, ...same } = own.claim
  const { owner, epoch, ...kept } = winner?.claim ?? ({} as Claim)
  assert.equal([oldEpoch, epoch], [1, 2])
  assert.is.not(owner, loserOwner)
  assert.equal(kept, same, 'the claim is repeated')
  assert.is((await jobOf(one.jobs, own)).mine, false)
})

async function stopped(own: OwnJob): Promise<ImageError> {
  assert.ok(own.signal.aborted, 'the owner goes on')
  return await failure(Promise.reject(own.signal.reason as Error))
}

jobs('an owner that sees a higher epoch stops, and writes no beat any more', async () => {
  const { medium } = new Town()
  const [one, two] = [process(medium), process(medium)]
  const own = await one.jobs.begin(newJob())
  await one.jobs.beatAll()
  assert.is(own.signal.aborted, false)
  await two.jobs.takeOver(await jobOf(two.jobs, own))
  await one.jobs.beatAll()
  assert.is((await stopped(own)).code, 'aborted')
  assert.is(own.count, 1)
  assert.is((await failure(one.jobs.assertOwned(own))).code, 'aborted')
})

jobs('an owner that was cancelled, ended or forgotten by another stops', async () => {
  const reasons: Record<string, (other: Jobs, own: OwnJob) => Promise<void>> = {
    cancelled: (other, { claim }) => other.cancel(claim.name, claim.uuid),
    ended: (other, own) => other.end(own, anEnd),
    forgotten: (other, { claim }) => other.remove(claim.name, claim.uuid),
  }
  for (const [how, act] of Object.entries(reasons)) {
    const { medium } = new Town()
    const [one, two] = [process(medium), process(medium)]
    const own = await one.jobs.begin(newJob())
    await act(two.jobs, own)
    assert.is(own.signal.aborted, false)
    await one.jobs.beatAll()
    assert.is((await stopped(own)).code, 'aborted', how)
    assert.is(medium.objects.has(beatKey('jammy', own.claim.uuid, 1)), false, how)
    assert.equal(one.problems, [])
  }
})

jobs('cancelling own work stops it at once', async () => {
  const { medium } = new Town()
  const one = process(medium)
  const own = await one.jobs.begin(newJob())
  await one.jobs.cancel('jammy', own.claim.uuid)
  assert.is((await stopped(own)).code, 'aborted')
  assert.is((await jobOf(one.jobs, own)).cancelled, true)
})

jobs('an owner that could not beat for 20 s stops, also when the storage hangs', async () => {
  for (const fault of ['rejects', 'hangs']) {
    const { medium } = new Town()
    const { jobs: own, backend, problems } = process(medium)
    const work = await own.begin(newJob())
    let answer = (): void => {}
    backend.before = async () => {
      if (fault === 'hangs') await new Promise<void>((resolve) => (answer = resolve))
      throw new ImageError('unavailable', 'The disk is away.')
    }
    const first = own.beatAll()
    await pause(1)
    assert.is(work.signal.aborted, false, 'too early')
    work.beatAtMs -= 20_001
    const second = own.beatAll()
    await pause(1)
    assert.is((await stopped(work)).code, 'unavailable', fault)
    answer()
    if (fault === 'hangs') continue
    await Promise.all([first, second])
    assert.ok(problems.length > 0)
  }
})

jobs('a beat that succeeds in between gives another 20 s', async () => {
  const { medium } = new Town()
  const { jobs: own } = process(medium)
  const work = await own.begin(newJob())
  work.beatAtMs -= 19_000
  await own.beatAll()
  await own.beatAll()
  assert.is(work.signal.aborted, false)
  assert.ok(performance.now() - work.beatAtMs < 1000)
})

jobs('the outcome is written once: the first stands', async () => {
  const { medium } = new Town()
  const [one, two] = [process(medium), process(medium)]
  const own = await one.jobs.begin(newJob())
  const successor = await two.jobs.takeOver(await jobOf(two.jobs, own))
  assert.ok(successor)
  await two.jobs.end(successor, anEnd)
  await one.jobs.end(own, { ...anEnd, message: 'later' })
  const job = await jobOf(one.jobs, own)
  assert.is(job.end?.message, 'broken')
  assert.ok((job.endedAtNs ?? 0n) > 0n)
})

jobs('a job that was removed leaves no file', async () => {
  const streets = new Town()
  const [one, two] = [process(streets.medium), process(streets.medium)]
  const own = await one.jobs.begin(newJob())
  const other = await one.jobs.begin(newJob('2'))
  await one.jobs.beatAll()
  await two.jobs.takeOver(await jobOf(two.jobs, own))
  await two.jobs.beatAll()
  await two.jobs.cancel('jammy', own.claim.uuid)
  await two.jobs.remove('jammy', own.claim.uuid)
  assert.equal(streets.keys(), [
    beatKey('jammy', other.claim.uuid, 1),
    claimKey('jammy', other.claim.uuid, 1),
  ])
  assert.is(await two.jobs.get('jammy', own.claim.uuid), undefined)
})

jobs(
  'files that are no job of ours are passed over, and a broken claim hides no other',
  async () => {
    const streets = new Town()
    const { jobs: own, problems } = process(streets.medium)
    for (const key of ['canary-1.json', 'notes.txt', 'jammy-0badcafe/notes.txt', 'x/1.json']) {
      streets.plant(`.jobs/${key}`, 'anything')
    }
    streets.plant(claimKey('jammy', '0badcafe', 1), '{"half":')
    streets.plant(beatKey('jammy', '0badbeef', 1), '{}')
    streets.plant(endKey('jammy', '0badbeef'), '{}')
    const { claim } = await own.begin(newJob())
    assert.equal(
      (await own.list()).map((job) => job.uuid),
      [claim.uuid],
    )
    assert.is(problems.length, 1)
    assert.match(problems[0]?.message ?? '', claimKey('jammy', '0badcafe', 1))
  },
)

jobs('what is known is read once: a list of unchanged jobs costs one request', async () => {
  const { medium } = new Town()
  const [one, two] = [process(medium), process(medium)]
  for (let count = 0; count < 5; count++) await one.jobs.begin(newJob(String(count)))
  await one.jobs.beatAll()
  await two.jobs.list()
  const calls: string[] = []
  two.backend.before = (verb) => void calls.push(verb)
  assert.is((await two.jobs.list()).length, 5)
  assert.equal(calls, ['list'])
  two.backend.before = undefined
  await one.jobs.beatAll()
  assert.ok((await two.jobs.list()).every((job) => job.beat.count === 2))
})

jobs.run()
