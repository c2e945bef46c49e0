// The source type `sync`: an image of another manager, of which only those blocks come over the wire
// that this store does not have yet.

import { ImageError } from '../errors.ts'
import { assertName, assertVersion } from '../layout.ts'
import { type Opening, type Order, type Source, readParameters } from '../pull/source.ts'
import type { Parameters } from '../record.ts'
import type { AddressRules } from '../source/address-rules.ts'
import { type Credential, assertCredential } from '../source/credential.ts'
import type { Fetcher } from '../source/fetcher.ts'
import { assemble } from './assemble.ts'
import { findHere } from './holdings.ts'
import { Plan } from './plan.ts'
import { Remote } from './remote.ts'

export interface SyncSourceOptions {
  fetcher: Fetcher
  /** Those of the fetcher: what they refuse outright is refused before anything is queued. */
  rules: AddressRules
  /** The secret of that name; throws `invalid_argument` where there is none. */
  credentialOf: (secretRef: string) => Promise<Credential>
  /** How long to wait after the first, second, … failure in a row; after the last it is given up. */
  retryDelaysMs?: readonly number[]
}

const known = { required: ['from', 'name'], optional: ['version'] } as const

export class SyncSource implements Source {
  readonly #options: SyncSourceOptions

  constructor(options: SyncSourceOptions) {
    this.#options = options
  }

  async check(parameters: Parameters): Promise<void> {
    const { from = '', name = '', version } = readParameters(parameters, known)
    const base = baseOf(from)
    this.#options.rules.assertUrl(base)
    assertName(name)
    if (version !== undefined) assertVersion(version)
    const credential = await this.#credential(parameters)
    if (credential) assertCredential(credential, base)
  }

  /** All of it: a base URL has no place for a secret. */
  shown(parameters: Parameters): Parameters {
    return parameters
  }

  async open(order: Order): Promise<Opening> {
    const { parameters, id, from, signal, rooms, onTrouble } = order
    const asked = readParameters(parameters, known)
    const credential = await this.#credential(parameters)
    const { fetcher, retryDelaysMs } = this.#options
    const remote = new Remote({
      fetcher,
      base: baseOf(asked.from ?? ''),
      id,
      onTrouble,
      ...(credential && { credential }),
      ...(retryDelaysMs && { retryDelaysMs }),
    })
    const image = await remote.image(asked.name ?? '', asked.version, signal)
    const { size, version, sha512, etag, format, labels } = image
    const plan = new Plan(size, await remote.blocks(image, signal))
    await findHere(plan, order)
    const offset = from?.validator === etag && from.offset <= size ? from.offset : 0
    const bytes = assemble({
      plan,
      offset,
      readOwn: (key, range, ended) => rooms.backend.get(key, { range, signal: ended, lend: true }),
      fetch: (range, ended) => remote.bytes(image, range, ended),
      signal,
      onTrouble,
    })
    return {
      size,
      offset,
      validator: etag,
      expected: [`sha512:${sha512}`],
      format,
      labels,
      parameters: { ...parameters, version },
      bytes,
    }
  }

  async #credential({ credential }: Parameters): Promise<Credential | undefined> {
    if (typeof credential !== 'object') return undefined
    return await this.#options.credentialOf(credential.secretRef)
  }
}

/** Throws `invalid_argument` for what is no base URL; whether it may be asked is for the rules. */
function baseOf(text: string): URL {
  const base = URL.canParse(text) ? new URL(text) : undefined
  if (base && base.search === '' && base.hash === '' && !/[?#]/.test(text)) return base
  throw new ImageError(
    'invalid_argument',
    'parameters.from is no base URL of a backing image manager, such as https://images.example.org: ' +
      `it ${base ? 'has a query or a fragment' : 'is no URL'}.`,
  )
}
