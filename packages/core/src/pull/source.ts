// Where a server goes by itself to fetch the bytes of an image: what a way in must be able to do so that
// its work can be queued, broken off, gone on with by another process, and told of without its secrets.

import type { Bytes } from '../backend.ts'
import { ImageError } from '../errors.ts'
import type { ImageFormat } from '../format.ts'
import type { Description, Parameters } from '../record.ts'
import type { Rooms } from '../rooms.ts'

/** What an earlier attempt, here or elsewhere, has left: bytes from the beginning of one edition. */
export interface From {
  offset: number
  /** What the source called that edition: an ETag, a digest. */
  validator: string
  /** Of the whole. */
  size?: number
}

export interface Order {
  name: string
  /** With their secrets. */
  parameters: Parameters
  /** The same for all attempts of one job, to the other side. */
  id: string
  from?: From
  signal: AbortSignal
  /** The store that the bytes go to, for a source that need not send what is there. */
  rooms: Rooms
  /** Told of what went wrong and is tried again. */
  onTrouble: (error: Error) => void
  /** Told what the other side is at, before it gives bytes: a sentence for people. */
  onNote?: (text: string) => void
}

export type Copies = Pick<Description, 'minNumberOfCopies' | 'nodeSelector' | 'diskSelector'>

/** A source that is ready to give. Who does not read `bytes` to their end leaves them by `return()`. */
export interface Opening {
  /** Of the whole, when known. */
  size?: number
  /** Where the bytes begin: at `from`, or at 0 where it can not go on from there. */
  offset: number
  /** With it an attempt that breaks off here can be gone on with; absent: it can not. */
  validator?: string
  /** Digests that the source itself gives, as `parseChecksum` makes them. */
  expected: readonly string[]
  /** What the bytes must turn out to be. */
  format?: ImageFormat
  labels?: Record<string, string>
  /** What the record is to say of the source: as they are shown, and what was left to it filled in. */
  parameters?: Parameters
  /** How many copies there are to be, and where; taken where the request leaves it open. */
  copies?: Copies
  /** Sentences for people, beside those of the inspection. */
  warnings?: string[]
  /** What comes compressed is unpacked on the way; absent: it is refused. */
  decompress?: 'auto'
  bytes: Bytes
}

/** What a source says of an image, for its record. */
export type Told = Pick<Opening, 'labels' | 'parameters' | 'copies' | 'warnings'>

export interface Source {
  /** Throws `invalid_argument` for what can be told from the parameters before anything is fetched. */
  check(parameters: Parameters): Promise<void>
  /** The parameters as anybody may see them. */
  shown(parameters: Parameters): Parameters
  /** Rejects with SourceChanged where what was begun can not be gone on with. */
  open(order: Order): Promise<Opening>
  /**
   * Of a source that makes something elsewhere to fetch from: removes that, for the work has ended well,
   * failed or was cancelled. It may have been done before, and there may be nothing.
   */
  clearUp?(ended: Ended): Promise<void>
}

/** Work that has ended; its parameters may be those that are shown. */
export type Ended = Pick<Order, 'id' | 'parameters' | 'signal'>

/** By source type. */
export type Sources = { readonly [sourceType: string]: Source | undefined }

/** Parameters that are plain texts; throws for one that is missing, unknown or of another kind. */
export function readParameters<Known extends string>(
  parameters: Parameters,
  { required, optional }: { required: readonly Known[]; optional: readonly Known[] },
): { [key in Known]?: string } {
  const known: readonly string[] = [...required, ...optional]
  for (const [key, value] of Object.entries(parameters)) {
    if (key === 'credential') {
      if (typeof value === 'object' && value.secretRef !== '') continue
      throw wrong('parameters.credential is expected to be {"secretRef": "NAME"}.')
    }
    if (!known.includes(key)) {
      const given = JSON.stringify(key.slice(0, 80))
      throw wrong(`${given} is no parameter here: it knows ${[...known, 'credential'].join(', ')}.`)
    }
    if (typeof value !== 'string' || value === '') {
      throw wrong(`parameters.${key} is expected to be a text that is not empty.`)
    }
  }
  const missing = required.filter((key) => parameters[key] === undefined)
  if (missing.length > 0) throw wrong(`parameters.${missing.join(', parameters.')} is missing.`)
  return parameters as { [key in Known]?: string }
}

function wrong(message: string): ImageError {
  return new ImageError('invalid_argument', message)
}
