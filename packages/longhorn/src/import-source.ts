// The source type `longhorn`: an image that Longhorn has already.

import { ImageError, type Opening, type Order, type Parameters } from '@backing-image/core'
import { type Source, readParameters } from '@backing-image/core'
import type { LonghornClient } from './client.ts'
import { openingOf } from './payload.ts'
import { type Patience, untilReady, usualPatience } from './until-ready.ts'

export interface ImportSourceOptions {
  client: LonghornClient
  patience?: Patience
}

const known = { required: ['backing-image'], optional: [] } as const
/** What Longhorn allows, of any length that Kubernetes does. */
const namePattern = /^[a-z0-9][a-z0-9_.-]{0,252}$/

export class ImportSource implements Source {
  readonly #client: LonghornClient
  readonly #patience: Patience

  constructor({ client, patience = usualPatience }: ImportSourceOptions) {
    this.#client = client
    this.#patience = patience
  }

  async check(parameters: Parameters): Promise<void> {
    const name = nameIn(parameters)
    if (namePattern.test(name)) return
    const given = JSON.stringify(name.slice(0, 80))
    throw new ImageError(
      'invalid_argument',
      `parameters.backing-image is ${given}; the name of a BackingImage of Longhorn is expected.`,
    )
  }

  shown(parameters: Parameters): Parameters {
    return parameters
  }

  async open({ parameters, signal, onTrouble, onNote }: Order): Promise<Opening> {
    const name = nameIn(parameters)
    const waiting = { ...this.#patience, signal, onTrouble, onNote }
    const image = await untilReady(() => this.#client.get(name, signal), waiting)
    const { minNumberOfCopies, nodeSelector, diskSelector } = image
    const copies = { minNumberOfCopies, nodeSelector, diskSelector }
    return { ...openingOf(this.#client, image, signal), copies }
  }
}

function nameIn(parameters: Parameters): string {
  assertNoCredential(parameters)
  return readParameters(parameters, known)['backing-image'] ?? ''
}

/** Of all that comes from Longhorn the configuration holds the one secret that there is. */
export function assertNoCredential({ credential }: Parameters): void {
  if (credential === undefined) return
  throw new ImageError(
    'invalid_argument',
    'parameters.credential is for other sources: LONGHORN_AUTH_TOKEN is sent to Longhorn.',
  )
}
