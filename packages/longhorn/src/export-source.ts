// The source type `export-from-volume`: Longhorn makes a temporary backing image of a volume, which is
// fetched like any other and goes when the work has ended.

import { setTimeout as pause } from 'node:timers/promises'
import { isDeepStrictEqual } from 'node:util'
import { type Ended, ImageError, type Opening, type Order } from '@backing-image/core'
import { type Parameters, type Source, asError, orUndefined } from '@backing-image/core'
import { readParameters } from '@backing-image/core'
import type { LonghornClient, NewLonghornImage } from './client.ts'
import { LonghornError } from './failure.ts'
import { assertNoCredential } from './import-source.ts'
import { openingOf, payloadOf } from './payload.ts'
import { toQcow2 } from './qcow2-export.ts'
import { assertConverter } from './qemu-img.ts'
import type { LonghornImage } from './resource.ts'
import { type Patience, untilReady, usualPatience } from './until-ready.ts'

export interface ExportSourceOptions {
  client: LonghornClient
  /** The most bytes that are taken of a volume. */
  sizeMax: number
  patience?: Patience
  /** How long the temporary image is tried to be removed, in milliseconds. */
  clearUpMaxMs?: number
  /** The program, found by PATH. */
  qemuImg?: string
}

const exportPrefix = 'bim-export-'

const known = { required: ['volume-name'], optional: ['export-type'] } as const
const exportTypes = ['raw', 'qcow2']
const volumePattern = /^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,252}$/
const usualClearUpMaxMs = 20_000
const clearUpDelayMs = 1000

export class ExportSource implements Source {
  readonly #client: LonghornClient
  readonly #sizeMax: number
  readonly #patience: Patience
  readonly #clearUpMaxMs: number
  readonly #qemuImg: string

  constructor(options: ExportSourceOptions) {
    this.#client = options.client
    this.#sizeMax = options.sizeMax
    this.#patience = options.patience ?? usualPatience
    this.#clearUpMaxMs = options.clearUpMaxMs ?? usualClearUpMaxMs
    this.#qemuImg = options.qemuImg ?? 'qemu-img'
  }

  async check(parameters: Parameters): Promise<void> {
    const wanted = wantedOf(parameters)
    if (!volumePattern.test(wanted['volume-name'])) {
      throw wrong('volume-name', wanted['volume-name'], 'the name of a volume of Longhorn')
    }
    if (!exportTypes.includes(wanted['export-type'])) {
      throw wrong('export-type', wanted['export-type'], exportTypes.join(' or '))
    }
    if (wanted['export-type'] === 'qcow2') await assertConverter(this.#qemuImg)
  }

  shown(parameters: Parameters): Parameters {
    return parameters
  }

  async open({ parameters, id, signal, onTrouble, onNote }: Order): Promise<Opening> {
    const wanted = wantedOf(parameters)
    // Another server may have accepted it.
    if (wanted['export-type'] === 'qcow2') await assertConverter(this.#qemuImg)
    const asked = temporary(id, wanted)
    const waiting = { ...this.#patience, signal, onTrouble, onNote }
    const image = await untilReady(() => this.#findOrMake(asked, signal), waiting)
    if (image.size > this.#sizeMax) throw tooLarge(image, this.#sizeMax)
    const opening = { ...openingOf(this.#client, image, signal), parameters: wanted }
    if (wanted['export-type'] === 'raw') return opening
    const { size, currentChecksum: sha512 } = image
    return {
      ...opening,
      ...(await toQcow2(payloadOf(this.#client, image, signal), {
        size,
        sha512,
        signal,
        qemuImg: this.#qemuImg,
      })),
    }
  }

  async clearUp({ id, parameters, signal }: Ended): Promise<void> {
    const asked = temporary(id, wantedOf(parameters))
    const tooLate = AbortSignal.timeout(this.#clearUpMaxMs)
    const ended = AbortSignal.any([signal, tooLate])
    let last = new Error('it gave no answer in time')
    while (!ended.aborted) {
      try {
        return await this.#remove(asked, ended)
      } catch (error) {
        if (ended.aborted) break
        last = asError(error)
        if (!(error instanceof LonghornError && error.isTransient)) break
        await pause(clearUpDelayMs, undefined, { signal: ended }).catch(() => {})
      }
    }
    signal.throwIfAborted()
    throw new ImageError(
      'unavailable',
      `The temporary BackingImage ${asked.name} may still be in Longhorn: ${last.message} Delete it there.`,
      { cause: last },
    )
  }

  /** The one that an earlier attempt has made, here or elsewhere; else a new one. */
  async #findOrMake(asked: NewLonghornImage, signal: AbortSignal): Promise<LonghornImage> {
    const { name } = asked
    const found = await orUndefined(this.#client.get(name, signal))
    if (found) return assertOurs(found, asked)
    try {
      return await this.#client.create(asked, signal)
    } catch (error) {
      // Somebody who works on the same may have been faster.
      const other = await orUndefined(this.#client.get(name, signal))
      if (!other) throw error
      return assertOurs(other, asked)
    }
  }

  async #remove(asked: NewLonghornImage, signal: AbortSignal): Promise<void> {
    const found = await orUndefined(this.#client.get(asked.name, signal))
    if (!found || found.deletedAt !== '' || !isOurs(found, asked)) return
    await orUndefined(this.#client.delete(asked.name, signal))
  }
}

/** Whether it is an export of some server's work, and will go with that: nobody else has a use for it. */
export function isTemporary({ name, sourceType }: LonghornImage): boolean {
  return sourceType === 'export-from-volume' && /^bim-export-[0-9a-f]{8}$/.test(name)
}

interface Wanted extends Record<string, string> {
  'volume-name': string
  'export-type': string
}

function wantedOf(parameters: Parameters): Wanted {
  assertNoCredential(parameters)
  const { 'volume-name': volume = '', 'export-type': type = 'raw' } = readParameters(
    parameters,
    known,
  )
  return { 'volume-name': volume, 'export-type': type }
}

/** The same for all who ever work on one job, so that there is only one. */
function temporary(id: string, wanted: Wanted): NewLonghornImage {
  return {
    name: `${exportPrefix}${id}`,
    sourceType: 'export-from-volume',
    parameters: wanted,
    expectedChecksum: '',
    minNumberOfCopies: 1,
  }
}

function isOurs(found: LonghornImage, { sourceType, parameters }: NewLonghornImage): boolean {
  return found.sourceType === sourceType && isDeepStrictEqual({ ...found.parameters }, parameters)
}

function assertOurs(found: LonghornImage, asked: NewLonghornImage): LonghornImage {
  if (isOurs(found, asked)) return found
  throw new ImageError(
    'failed_precondition',
    `Longhorn has a BackingImage ${asked.name} that is not the export that was asked for. It is left as ` +
      'it is; ask for the image again.',
  )
}

function wrong(parameter: string, found: string, expected: string): ImageError {
  const given = JSON.stringify(found.slice(0, 80))
  return new ImageError(
    'invalid_argument',
    `parameters.${parameter} is ${given}; ${expected} is expected.`,
  )
}

function tooLarge({ name, size }: LonghornImage, sizeMax: number): ImageError {
  return new ImageError(
    'invalid_argument',
    `The export ${name} has ${size} bytes; MAX_IMAGE_SIZE is ${sizeMax}.`,
    { reason: 'too_large', expected: String(sizeMax), actual: String(size) },
  )
}
