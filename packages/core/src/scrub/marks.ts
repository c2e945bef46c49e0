// The step that looks at the marks: those that have done their work.

import type { Stat } from '../backend.ts'
import { orUndefined } from '../errors.ts'
import { marksPrefix, parseCorruptKey, parseMarkKey } from '../layout.ts'
import { markAgeMaxNs, sweepMarks } from '../sweep.ts'
import { type Finding, type ScrubContext, type Step, mended } from './finding.ts'
import { Notes } from './notes.ts'

const step = 'marks'

export const marksStep: Step = {
  name: step,
  what: 'marks that are older than a week, or of bytes that are gone',
  run,
}

async function* run(context: ScrubContext): AsyncGenerator<Finding> {
  const notes = new Notes(step, (count) => `${count} more objects in .marks are not ours.`)
  const marks: Stat[] = []
  for await (const stat of context.rooms.backend.list(marksPrefix)) {
    context.checked(1)
    const { key } = stat
    if (parseMarkKey(key)) marks.push(stat)
    else if (!parseCorruptKey(key)) {
      yield* notes.add({ key, what: `${key} is no mark and not ours: it is left as it is.` })
    }
  }
  yield* notes.rest()
  for (const mark of marks) {
    if (context.nowNs - mark.modifiedAt > markAgeMaxNs) yield* old(context, mark)
  }
}

async function* old(context: ScrubContext, mark: Stat): AsyncGenerator<Finding> {
  const { rooms, nowNs } = context
  if (!(await orUndefined(rooms.backend.stat(mark.key)))) return
  const found: Finding = {
    step,
    level: 'note',
    key: mark.key,
    ...parseMarkKey(mark.key),
    what: `${mark.key} is over a week old: nobody waits for it any more.`,
  }
  yield await mended(context, found, async () => await sweepMarks(rooms, [mark], nowNs))
}
