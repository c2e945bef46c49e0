// The step that looks at the files of jobs: what no first claim stands beside, and secrets that outlived
// their work.

import type { Stat } from '../backend.ts'
import { orUndefined } from '../errors.ts'
import { claimKey, endKey, jobsPrefix, parseJobKey, scrubPrefix, sourceKey } from '../layout.ts'
import { type Finding, type ScrubContext, type Step, isLeft, mended } from './finding.ts'
import { Notes } from './notes.ts'

const step = 'jobs'

export const jobsStep: Step = {
  name: step,
  what: 'files of jobs that belong to no work',
  run,
}

interface Files {
  name: string
  uuid: string
  stats: Stat[]
  /** Without it there is no job (docs/layout.md, "Leases"). */
  isFirstClaimThere: boolean
  claimEpoch: number
  source?: Stat
  end?: Stat
}

async function* run(context: ScrubContext): AsyncGenerator<Finding> {
  const { backend } = context.rooms
  const notes = new Notes(step, (count) => `${count} more objects in .jobs are not ours.`)
  const jobs = new Map<string, Files>()
  for await (const stat of backend.list(jobsPrefix)) {
    context.checked(1)
    if (stat.key.startsWith(scrubPrefix)) continue
    const file = parseJobKey(stat.key)
    if (file) addTo(jobs, stat)
    else if (!stat.key.startsWith(`${jobsPrefix}canary-`)) {
      const { key } = stat
      yield* notes.add({ key, what: `${key} is no file of a job: it is left as it is.` })
    } else yield* stray(context, stat)
  }
  yield* notes.rest()
  for (const files of jobs.values()) {
    if (files.isFirstClaimThere) yield* claimed(context, files)
    else for (const stat of files.stats) yield* stray(context, stat)
  }
}

function addTo(jobs: Map<string, Files>, stat: Stat): void {
  const file = parseJobKey(stat.key)
  if (!file) return
  const folder = stat.key.slice(0, stat.key.lastIndexOf('/'))
  const { name, uuid } = file
  const files = jobs.get(folder) ?? {
    name,
    uuid,
    stats: [],
    isFirstClaimThere: false,
    claimEpoch: 0,
  }
  jobs.set(folder, files)
  files.stats.push(stat)
  if (file.kind === 'claim') {
    files.claimEpoch = Math.max(files.claimEpoch, file.epoch)
    files.isFirstClaimThere ||= file.epoch === 1
  }
  if (file.kind === 'source') files.source = stat
  if (file.kind === 'end') files.end = stat
}

/** A late beat, a canary, or what a removal left: it goes as the sweep would take it away. */
async function* stray(context: ScrubContext, { key, modifiedAt }: Stat): AsyncGenerator<Finding> {
  const { backend } = context.rooms
  if (!(await isLeft(context, modifiedAt)) || !(await orUndefined(backend.stat(key)))) return
  const what = `${key} belongs to no work: it was left behind.`
  const about = parseJobKey(key)
  const found: Finding = {
    step,
    level: 'fault',
    key,
    ...(about && { name: about.name, uuid: about.uuid }),
    what,
  }
  yield await mended(context, found, async () => await backend.delete(key))
}

async function* claimed(
  context: ScrubContext,
  { name, uuid, claimEpoch, source, end }: Files,
): AsyncGenerator<Finding> {
  const { backend, jobs } = context.rooms
  if (!(await jobs.get(name, uuid))) {
    const key = claimKey(name, uuid, claimEpoch)
    if (!(await orUndefined(backend.stat(key)))) return
    const what = `${key} can not be read, and nobody can end that work: delete the folder by hand.`
    yield { step, level: 'fault', key, name, uuid, what, repair: 'none' }
    return
  }
  // Who ends a job removes its source at once.
  if (!source || !end || !(await isLeft(context, end.modifiedAt))) return
  const key = sourceKey(name, uuid)
  const isThere = async (each: string): Promise<boolean> =>
    (await orUndefined(backend.stat(each))) !== undefined
  if (!(await isThere(key)) || !(await isThere(endKey(name, uuid)))) return
  const what = `The work on ${name} has ended, but its source, which may hold secrets, is still there.`
  const found: Finding = { step, level: 'fault', key, name, uuid, what }
  yield await mended(context, found, async () => await backend.delete(key))
}
