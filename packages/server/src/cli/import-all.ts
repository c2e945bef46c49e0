// `backing-image import --all`: every image of a Longhorn, of which one that fails stops no other.

import { asError } from '@backing-image/core'
import type { LonghornImagesView } from '../longhorn-images.ts'
import type { ImageView } from '../view.ts'
import { type Client, RequestError } from './client.ts'
import { ended, failureOf } from './ended.ts'
import { type Form, plainTable, print } from './output.ts'
import { allPages } from './pages.ts'
import { imagePath } from './server-options.ts'
import { CommandError, type Terminal } from './terminal.ts'

/** What became of one of them. */
interface Outcome {
  name: string
  result: 'imported' | 'accepted' | 'skipped' | 'failed'
  message: string
}

/** So many are asked for at a time: the server keeps a queue of 1,000, for others too. */
const batchMost = 100

/** Prints what became of each; throws in the end when one has failed. */
export async function importAll(
  client: Client,
  options: { label?: Record<string, string>; wait: boolean; output?: Form },
  terminal: Terminal,
): Promise<void> {
  const { wait, output, label } = options
  const { data } = await client.json<LonghornImagesView>('GET', '/v1/longhorn/backing-images')
  const wanted = data.filter(({ state, isOurs }) => state === 'ready' && !isOurs)
  const outcomes: Outcome[] = []
  for (let first = 0; first < wanted.length; first += batchMost) {
    const begun: ImageView[] = []
    for (const { name, currentChecksum } of wanted.slice(first, first + batchMost)) {
      const found = await settled(name, () =>
        start(client, name, { checksum: currentChecksum, label }),
      )
      if ('result' in found) outcomes.push(found)
      else if (wait) begun.push(found)
      else outcomes.push({ name, result: 'accepted', message: `It becomes ${found.version}.` })
    }
    for (const image of begun) {
      if (terminal.stderr.isTTY === true) terminal.stderr.write(`${image.name}\n`)
      outcomes.push(await settled(image.name, () => outcomeOf(client, image, terminal)))
    }
  }
  const summary = summaryOf(outcomes, data.length - wanted.length)
  print(terminal, output, {
    value: { data: outcomes, summary },
    table: () => `${tableOf(outcomes)}\n${summary}`,
  })
  if (outcomes.some(({ result }) => result === 'failed')) throw new CommandError(summary)
}

/** What an image that comes is to be, beside what Longhorn says of it. */
interface Wish {
  as?: string
  checksum?: string
  label?: Record<string, string> | undefined
}

/** Asks for one image; the same answer when it is there already, or on its way. */
export async function begin(client: Client, name: string, wish: Wish): Promise<ImageView> {
  const { as = name, checksum = '', label } = wish
  return await client.json<ImageView>('POST', '/v1/backing-images', {
    name: as,
    sourceType: 'longhorn',
    parameters: { 'backing-image': name },
    ...(checksum === '' ? {} : { checksum }),
    ...(label === undefined ? {} : { labels: label }),
  })
}

/** What the work resolves to; that it has failed, when it rejects. */
async function settled<T>(name: string, work: () => Promise<T>): Promise<T | Outcome> {
  try {
    return await work()
  } catch (error) {
    return { name, result: 'failed', message: asError(error).message }
  }
}

/** The image that the server works on, or why there is none to work on. */
async function start(client: Client, name: string, wish: Wish): Promise<ImageView | Outcome> {
  // Also an older version: what came from it since is newer than what Longhorn has.
  const same = (await versionsOf(client, name)).find(
    ({ state, currentChecksum }) => state === 'ready' && currentChecksum === wish.checksum,
  )
  if (!same) return await begin(client, name, wish)
  return { name, result: 'skipped', message: `Version ${same.version} has these bytes.` }
}

async function versionsOf(client: Client, name: string): Promise<ImageView[]> {
  try {
    return await allPages(client, `${imagePath(name)}/versions`)
  } catch (error) {
    if (error instanceof RequestError && error.status === 404) return []
    throw error
  }
}

async function outcomeOf(
  client: Client,
  accepted: ImageView,
  terminal: Terminal,
): Promise<Outcome> {
  const image = await ended(client, accepted, terminal)
  const { name, version, state } = image
  return state === 'ready'
    ? { name, result: 'imported', message: `It is version ${version}.` }
    : { name, result: 'failed', message: failureOf(image) }
}

function summaryOf(outcomes: readonly Outcome[], passed: number): string {
  const counts = (['imported', 'accepted', 'skipped', 'failed'] as const)
    .map((result) => [outcomes.filter((each) => each.result === result).length, result] as const)
    .filter(([count, result]) => count > 0 || result === 'imported')
    .map(([count, result]) => `${count} ${result}`)
  const others = passed === 0 ? '' : `; ${passed} not ready, or from here`
  return `${counts.join(', ')}${others}.`
}

function tableOf(outcomes: readonly Outcome[]): string {
  const table = plainTable(['NAME', 'RESULT', 'MESSAGE'])
  for (const { name, result, message } of outcomes) table.push([name, result, message])
  return table.toString()
}
