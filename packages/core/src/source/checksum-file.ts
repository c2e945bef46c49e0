// The files of checksums that publishers put beside their images, in the formats of coreutils, BSD,
// openssl and PGP around them; and one of them read from a URL. Signatures are not checked.

import { promisify } from 'node:util'
import { gunzip } from 'node:zlib'
import { type Algorithm, algorithms, parseChecksum, splitChecksum } from '../checksum.ts'
import { ImageError } from '../errors.ts'
import type { Bytes } from '../backend.ts'
import { type DownloadOptions, openDownload } from './download.ts'
import { SourceChanged, SourceError } from './failure.ts'
import type { Fetcher } from './fetcher.ts'
import { redactUrl } from './redact.ts'

interface Entry {
  /** As it is written there, without `./`; undefined where a digest stands alone. */
  name: string | undefined
  /** `algorithm:hex`. */
  checksum: string
}

/**
 * The checksum of the first of `fileNames` that is listed, as `algorithm:hex` of the strongest algorithm
 * there is. A name in a folder is found by its last part, too; a file about one name alone counts
 * whatever that is. Undefined when none is listed; `invalid_argument` when one name has two digests.
 */
export function findChecksum(text: string, fileNames: readonly string[]): string | undefined {
  return chooseChecksum(listChecksums(text), fileNames)
}

function chooseChecksum(entries: Entry[], fileNames: readonly string[]): string | undefined {
  for (const nameOf of [plain, lastPart]) {
    for (const fileName of fileNames) {
      const sought = nameOf(fileName)
      const found = entries.filter(({ name }) => name !== undefined && nameOf(name) === sought)
      if (found.length > 0) return strongest(found, sought)
    }
  }
  const [first] = entries
  const isAlone = entries.every(({ name }) => name === first?.name)
  return first && isAlone ? strongest(entries, first.name ?? 'it') : undefined
}

function plain(name: string): string {
  return name.replace(/^(\.\/+)+/, '')
}

function lastPart(name: string): string {
  return name.slice(name.lastIndexOf('/') + 1)
}

function strongest(entries: Entry[], name: string): string | undefined {
  const found = new Map<Algorithm, string>()
  for (const { checksum } of entries) {
    const { algorithm } = splitChecksum(checksum)
    const other = found.get(algorithm) ?? checksum
    if (other !== checksum) {
      throw new ImageError(
        'invalid_argument',
        `The checksum file gives ${shown(name)} two different digests, ${other} and ${checksum}. ` +
          'Give the right one as checksum.',
      )
    }
    found.set(algorithm, checksum)
  }
  return algorithms.map((each) => found.get(each)).find((each) => each !== undefined)
}

function shown(name: string): string {
  return JSON.stringify(name.slice(0, 200))
}

/** Everything that is listed, in its order; lines that are none of the formats are passed over. */
function listChecksums(text: string): Entry[] {
  return signedPart(text.replace(/^\uFEFF/, '').split(/\r\n|\n|\r/)).flatMap(
    (line) => parseLine(line.trim()) ?? [],
  )
}

/** What stands inside a clear-signed message (RFC 9580 §7); all when it is none. */
function signedPart(lines: string[]): string[] {
  const begin = lines.findIndex((line) => /^-----BEGIN PGP SIGNED MESSAGE-----\s*$/.test(line))
  const end = lines.findIndex((line) => /^-----BEGIN PGP SIGNATURE-----\s*$/.test(line))
  if (begin < 0) return end < 0 ? lines : lines.slice(0, end)
  // What stands outside is not what was signed.
  const inside = lines.slice(begin + 1, end < begin ? undefined : end)
  return inside.map((line) => line.replace(/^- /, ''))
}

function parseLine(line: string): Entry | undefined {
  return parseTagged(line) ?? parsePlain(line)
}

/** `SHA256 (name) = hex`, and as openssl has it, `SHA2-256(name)= hex`. */
function parseTagged(line: string): Entry | undefined {
  const match =
    /^(\\?)(SHA(?:2-|-)?512|SHA(?:2-|-)?256|SHA-?1|MD5) ?\((.*)\) ?= ([0-9a-f]+)$/i.exec(line)
  const [, escape, tag = '', name = '', hex = ''] = match ?? []
  const algorithm = tag.toLowerCase().replace(/^sha(2-|-)/, 'sha')
  return match ? entryOf(unescaped(name, escape), `${algorithm}:${hex}`) : undefined
}

const plainLine =
  /^(\\?)((?:sha512:|sha256:|sha1:|md5:)?(?:[0-9a-f]{32}){1,4}(?:[0-9a-f]{8})?)(?:[ \t]+\*?(.*))?$/i

/** `hex  name`, `hex *name`, and a digest alone, of which the length tells the algorithm. */
function parsePlain(line: string): Entry | undefined {
  const match = plainLine.exec(line)
  const [, escape, checksum = '', name] = match ?? []
  return match ? entryOf(name === undefined ? name : unescaped(name, escape), checksum) : undefined
}

function entryOf(name: string | undefined, checksum: string): Entry | undefined {
  try {
    return { name, checksum: parseChecksum(checksum) }
  } catch {
    // Of another algorithm, or no digest at all.
    return undefined
  }
}

/** A backslash before the line says that its name is escaped (coreutils). */
function unescaped(name: string, escape: string | undefined): string {
  const escapes: Record<string, string> = { n: '\n', r: '\r', '\\': '\\' }
  const whole = escape ? name.replace(/\\(.)/g, (pair, char) => escapes[char] ?? pair) : name
  return plain(whole)
}

const fileBytesMax = 1024 * 1024
const startsMax = 5
const namesShown = 5

export interface ChecksumRequest extends Omit<DownloadOptions, 'from'> {
  /** What the image may be called there, the likeliest first. */
  fileNames: readonly string[]
}

/**
 * Reads a checksum file of at most 1 MiB and finds the checksum of one of the names in it, as
 * `algorithm:hex`. Rejects as a download does, and with `invalid_argument` when none is listed.
 */
export async function fetchChecksum(fetcher: Fetcher, request: ChecksumRequest): Promise<string> {
  const { fileNames } = request
  const entries = listChecksums(await readText(fetcher, request))
  const checksum = chooseChecksum(entries, fileNames)
  if (checksum !== undefined) return checksum
  const names = [...new Set(entries.map(({ name }) => name ?? ''))]
  const some = names.slice(0, namesShown).map(shown).join(', ')
  const rest = names.length > namesShown ? ` and ${names.length - namesShown} more` : ''
  const found = names.length === 0 ? 'It lists no checksum at all' : `It lists ${some}${rest}`
  throw new ImageError(
    'invalid_argument',
    `The checksum file ${redactUrl(request.url.href)} does not list ` +
      `${fileNames.map(shown).join(' or ')}. ${found}. Name another file, or give the checksum.`,
  )
}

async function readText(fetcher: Fetcher, options: DownloadOptions): Promise<string> {
  for (let starts = 1; ; starts += 1) {
    try {
      const download = await openDownload(fetcher, options)
      const content = await readSmall(download.bytes, options.url)
      return new TextDecoder().decode(
        download.encoding === '' ? content : await unpack(content, options.url),
      )
    } catch (error) {
      if (!(error instanceof SourceChanged) || starts === startsMax) throw error
    }
  }
}

async function readSmall(bytes: Bytes, url: URL): Promise<Buffer> {
  const chunks: Uint8Array[] = []
  let length = 0
  for await (const chunk of bytes) {
    length += chunk.length
    if (length > fileBytesMax) throw notSmall(url, `is over ${fileBytesMax} bytes`)
    chunks.push(chunk)
  }
  return Buffer.concat(chunks)
}

async function unpack(content: Buffer, url: URL): Promise<Buffer> {
  try {
    return await promisify(gunzip)(content, { maxOutputLength: fileBytesMax })
  } catch {
    throw notSmall(url, `can not be unpacked to at most ${fileBytesMax} bytes`)
  }
}

function notSmall(url: URL, what: string): SourceError {
  return new SourceError(`${redactUrl(url.href)} ${what}: that is no checksum file.`, {
    isTransient: false,
  })
}
