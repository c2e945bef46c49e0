// What the tests of scrubs are written in: a scrub from its start to its end, what it has found, and
// faults to plant.

import { setTimeout as pause } from 'node:timers/promises'
import type { Finding } from '../scrub/finding.ts'
import type { ScrubReport } from '../scrub/report.ts'
import type { ScrubOptions, ScrubRequest } from '../scrub/scrubs.ts'
import type { ImageStore } from '../store.ts'
import { type Instance, type Town, latch, put, recordOf } from './rig.ts'

/** Scrubs a store; resolves with the whole report. */
export async function scrubbed(
  { scrubs }: Pick<ImageStore, 'scrubs'>,
  request: ScrubRequest = {},
): Promise<ScrubReport> {
  const { id } = await scrubs.start(request)
  return await ended({ scrubs }, id)
}

/** The report of a scrub that has ended, as any process sees it. */
export async function ended(
  { scrubs }: Pick<ImageStore, 'scrubs'>,
  id: string,
): Promise<ScrubReport> {
  for (;;) {
    const report = await scrubs.get(id)
    if (report.state !== 'running') return report
    await pause(1)
  }
}

/** What is wrong, one line each: the step, the key and what became of it. */
export function faultsOf({ findings }: ScrubReport): string[] {
  return findings.filter(({ level }) => level === 'fault').map(lineOf)
}

/** What is worth knowing, likewise. */
export function notesOf({ findings }: ScrubReport): string[] {
  return findings.filter(({ level }) => level === 'note').map(lineOf)
}

function lineOf({ step, key, repair }: Finding): string {
  return `${step} ${key ?? '-'} ${repair ?? '-'}`
}

/** Changes one bit of what is stored, behind everybody's back: no size, time or tag tells. */
export function rot(town: Town, key: string, at: number = 700): void {
  const body = town.medium.objects.get(key)?.body
  if (body?.[at] === undefined) throw new Error(`${key} has no byte ${at}.`)
  body[at] ^= 1
}

/** Cuts the end off, as a tool that copies badly does. */
export function truncate(town: Town, key: string): void {
  const body = town.medium.objects.get(key)?.body
  if (!body) throw new Error(`There is no ${key}.`)
  town.medium.write(key, body.subarray(0, body.length - 512))
}

/** Dry, then with repair, then what is wrong once more: what a repair has mended is gone. */
export async function thrice(
  store: ImageStore,
  steps: string[],
): Promise<[ScrubReport, ScrubReport, string[]]> {
  const dry = await scrubbed(store, { steps })
  const mended = await scrubbed(store, { steps, repair: true })
  return [dry, mended, faultsOf(await scrubbed(store, { steps }))]
}

/** Without a limit that a test would notice. */
export const fast: ScrubOptions = { bytesPerSecond: 2 ** 40 }

/** A server in the middle of a scrub, which waits before it reads an image; `go` lets it. */
export async function midway(
  town: Town,
  options: ScrubOptions = fast,
): Promise<Instance & { id: string; go: () => void }> {
  const instance = await town.open({ scrub: options })
  // Bytes of its own, each time.
  const image = await put(instance.store, 'jammy', town.keys().length + 1)
  const [bytes] = recordOf(town, 'jammy', image.version).keys
  const [reached, held] = [latch(), latch()]
  instance.backend.before = async (verb, key) => {
    if (verb !== 'get' || key !== bytes) return
    reached.open()
    await held.opened
  }
  const { id } = await instance.store.scrubs.start()
  await reached.opened
  return { ...instance, id, go: held.open }
}
