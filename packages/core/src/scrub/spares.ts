// The step that looks for spares: own copies of content that is shared, which nobody needs any more.

import { sweepSpares } from '../sweep.ts'
import { parseBytesKey } from '../layout.ts'
import type { Finding, ScrubContext, Step } from './finding.ts'

const step = 'spares'

export const sparesStep: Step = {
  name: step,
  what: 'second copies of content that is stored once',
  run,
}

async function* run(context: ScrubContext): AsyncGenerator<Finding> {
  const { rooms, repair } = context
  context.checked(0)
  for (const key of await sweepSpares(rooms, { isDryRun: !repair })) {
    context.checked(1)
    const what = `${key} is a second copy of what its record names first, and nobody needs it.`
    const done = repair ? 'done' : 'possible'
    yield { step, level: 'fault', key, ...parseBytesKey(key), what, repair: done }
  }
}
