// The source type `download`: one URL, with the checksum that its publisher puts beside it.

import { ImageError } from '../errors.ts'
import type { Parameters } from '../record.ts'
import type { AddressRules } from '../source/address-rules.ts'
import { fetchChecksum } from '../source/checksum-file.ts'
import { type Credential, assertCredential, isMeantFor } from '../source/credential.ts'
import { type Retry, openDownload } from '../source/download.ts'
import type { Fetcher } from '../source/fetcher.ts'
import { redactUrl } from '../source/redact.ts'
import { type Opening, type Order, type Source, readParameters } from './source.ts'

export interface DownloadSourceOptions {
  fetcher: Fetcher
  /** Those of the fetcher: what they refuse outright is refused before anything is queued. */
  rules: AddressRules
  /** The secret of that name; throws `invalid_argument` where there is none. */
  credentialOf: (secretRef: string) => Promise<Credential>
}

const compressions = /\.(?:gz|xz|zst|bz2)$/
const known = { required: ['url'], optional: ['checksumUrl', 'decompress'] } as const

export class DownloadSource implements Source {
  readonly #options: DownloadSourceOptions

  constructor(options: DownloadSourceOptions) {
    this.#options = options
  }

  async check(parameters: Parameters): Promise<void> {
    const { url, checksumUrl, decompress = 'auto' } = readParameters(parameters, known)
    const targets = [urlOf('url', url ?? '')]
    if (checksumUrl !== undefined) targets.push(urlOf('checksumUrl', checksumUrl))
    for (const target of targets) this.#options.rules.assertUrl(target)
    if (!['auto', 'never'].includes(decompress)) {
      const given = JSON.stringify(decompress.slice(0, 80))
      throw new ImageError(
        'invalid_argument',
        `parameters.decompress is ${given}; auto or never is expected.`,
      )
    }
    const credential = await this.#credential(parameters)
    if (credential) assertCredential(credential, urlOf('url', url ?? ''))
  }

  shown(parameters: Parameters): Parameters {
    const { url, checksumUrl } = readParameters(parameters, known)
    return {
      ...parameters,
      ...(url !== undefined && { url: redactUrl(url) }),
      ...(checksumUrl !== undefined && { checksumUrl: redactUrl(checksumUrl) }),
    }
  }

  async open({ parameters, from, signal, onTrouble }: Order): Promise<Opening> {
    const { url = '', checksumUrl, decompress = 'auto' } = readParameters(parameters, known)
    const credential = await this.#credential(parameters)
    const { fetcher } = this.#options
    const target = urlOf('url', url)
    const onRetry = ({ error }: Retry): void => onTrouble(error)
    const expected: string[] = []
    if (checksumUrl !== undefined) {
      const beside = urlOf('checksumUrl', checksumUrl)
      // A secret is for the image; it goes along where the checksum is kept at the same place.
      const secret = credential && isMeantFor(credential, beside) ? { credential } : {}
      const request = { url: beside, fileNames: fileNamesOf(target), signal, onRetry, ...secret }
      expected.push(await fetchChecksum(fetcher, request))
    }
    const { size, offset, validator, bytes } = await openDownload(fetcher, {
      url: target,
      signal,
      onRetry,
      ...(credential && { credential }),
      ...(from && { from }),
    })
    return {
      offset,
      expected,
      bytes,
      ...(decompress === 'auto' && { decompress }),
      ...(size !== undefined && { size }),
      ...(validator !== undefined && { validator }),
    }
  }

  async #credential({ credential }: Parameters): Promise<Credential | undefined> {
    if (typeof credential !== 'object') return undefined
    return await this.#options.credentialOf(credential.secretRef)
  }
}

/** What a checksum file may call the image: as in the URL, and unpacked. */
function fileNamesOf(url: URL): string[] {
  const last = url.pathname.split('/').at(-1) ?? ''
  const name = decoded(last)
  const unpacked = name.replace(compressions, '')
  return unpacked === name ? [name] : [name, unpacked]
}

function decoded(part: string): string {
  try {
    return decodeURIComponent(part)
  } catch {
    return part
  }
}

function urlOf(parameter: string, text: string): URL {
  if (URL.canParse(text)) return new URL(text)
  throw new ImageError('invalid_argument', `parameters.${parameter} is no URL.`)
}
