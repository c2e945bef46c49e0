// What a scrub has found so far, or in all: kept in the store, given as JSON, and told as text.

import type { Finding, Step } from './finding.ts'

/** So many findings are kept; faults rather than notes. */
export const findingsMax = 1000

export type ScrubState = 'running' | 'done' | 'cancelled' | 'failed'

export interface StepReport {
  name: string
  what: string
  state: 'waiting' | 'running' | 'done' | 'stopped'
  /** What was looked at, and how many bytes of images were read. */
  objects: number
  bytes: number
  /** How many bytes it will read in all, where that is known. */
  bytesExpected: number
  faults: number
  notes: number
  /** Of those, how many were repaired. */
  repaired: number
}

export interface ScrubReport {
  id: string
  state: ScrubState
  /** Why it ended before it was done; else empty. */
  message: string
  repair: boolean
  /** Bytes per second that it reads at most. */
  rate: number
  /** ISO 8601. */
  startedAt: string
  endedAt: string | null
  faults: number
  notes: number
  repaired: number
  steps: StepReport[]
  /** In the order in which they were found. */
  findings: Finding[]
  /** So many more were counted and not kept. */
  findingsLeftOff: number
}

export function beginReport(
  id: string,
  steps: readonly Step[],
  options: { repair: boolean; rate: number },
): ScrubReport {
  const none = { faults: 0, notes: 0, repaired: 0 }
  const nothing = { objects: 0, bytes: 0, bytesExpected: 0, ...none }
  return {
    id,
    state: 'running',
    message: '',
    ...options,
    startedAt: new Date().toISOString(),
    endedAt: null,
    ...none,
    steps: steps.map(({ name, what }) => ({ name, what, state: 'waiting', ...nothing })),
    findings: [],
    findingsLeftOff: 0,
  }
}

/** Counts a finding, and keeps it while there is room. */
export function addFinding(report: ScrubReport, step: StepReport, finding: Finding): void {
  for (const counts of [report, step]) {
    counts[finding.level === 'fault' ? 'faults' : 'notes'] += 1
    if (finding.repair === 'done') counts.repaired += 1
  }
  const { findings } = report
  if (findings.length >= findingsMax) {
    report.findingsLeftOff += 1
    // What is wrong is not left off for what is merely worth knowing.
    const note = finding.level === 'fault' ? findings.findLastIndex(isNote) : -1
    if (note < 0) return
    findings.splice(note, 1)
  }
  findings.push(finding)
}

function isNote({ level }: Finding): boolean {
  return level === 'note'
}

/** A step that can not go on has not looked at everything. */
export function endReport(report: ScrubReport, state: ScrubState, message: string): void {
  report.state = state
  report.message = message
  report.endedAt = new Date().toISOString()
  for (const step of report.steps) if (step.state === 'running') step.state = 'stopped'
}

const repairs = {
  none: '',
  possible: ' [a scrub with repair mends it]',
  done: ' [repaired]',
  failed: ' [not repaired]',
}

/** The report for people, faults first. */
export function formatReport(report: ScrubReport): string {
  const { id, state, message, repair, startedAt, endedAt, faults, notes, repaired } = report
  const lines = [
    `Scrub ${id}: ${state}${message === '' ? '' : `. ${message}`}`,
    `Started ${startedAt}${endedAt === null ? '' : `, ended ${endedAt}`}; ` +
      (repair ? 'with repair.' : 'dry run: nothing was changed.'),
    '',
    ...report.steps.map(stepLine),
    '',
    ...report.findings.filter((finding) => !isNote(finding)).flatMap(findingLines),
    ...report.findings.filter(isNote).flatMap(findingLines),
    ...(report.findingsLeftOff > 0 ? [`${report.findingsLeftOff} more are not shown.`] : []),
    `${count(faults, 'fault')}, ${count(notes, 'note')}, ${repaired} repaired.`,
  ]
  return `${lines.join('\n')}\n`
}

function stepLine({ name, what, state, objects, bytes, faults, notes }: StepReport): string {
  const read = bytes > 0 ? `, ${bytes} bytes` : ''
  const found = faults + notes > 0 ? `; ${count(faults, 'fault')}, ${count(notes, 'note')}` : ''
  const looked = state === 'waiting' ? '' : ` (${count(objects, 'object')}${read}${found})`
  return `${state.padEnd(8)}${name.padEnd(12)}${what}${looked}`
}

function findingLines({ level, step, what, repair, expected, actual, key }: Finding): string[] {
  const more = [
    ...(key === undefined ? [] : [`key: ${key}`]),
    ...(expected === undefined ? [] : [`expected: ${expected}`]),
    ...(actual === undefined ? [] : [`found: ${actual}`]),
  ]
  const head = `${level === 'fault' ? 'FAULT' : 'note '} ${step}: ${what}${repairs[repair ?? 'none']}`
  return [head, ...more.map((line) => `      ${line}`)]
}

function count(many: number, what: string): string {
  return `${many} ${what}${many === 1 ? '' : 's'}`
}
