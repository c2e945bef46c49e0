// Unpacks xz as a stream with XZ Embedded, the decoder of the Linux kernel. It makes the checks CRC32 and
// CRC64, and takes dictionaries up to 64 MiB (`xz -9`); it knows no filter but LZMA2.

import xz from 'xz-decompress'
import { asError } from '../errors.ts'
import { unpackError } from '../compression.ts'

/** From xz.h of XZ Embedded, `enum xz_ret`. */
const unsupportedCheck = 2
const noMemory = 3
const memoryLimit = 4
const unsupportedOptions = 6
const noProgress = 8

/**
 * The unpacked bytes of all streams that follow each other in `packed`, and of the padding between them.
 */
export async function* unpackXz(
  packed: Iterable<Uint8Array>,
): AsyncGenerator<Uint8Array, void, undefined> {
  const source = packed[Symbol.iterator]()
  const input = new ReadableStream<Uint8Array>(
    {
      pull(controller) {
        const { done, value } = source.next()
        if (done) controller.close()
        else controller.enqueue(value)
      },
    },
    // A chunk is valid until the next is asked for.
    { highWaterMark: 0 },
  )
  try {
    yield* new xz.XzReadableStream(input)
  } catch (error) {
    const [, code] = /error code (\d+)$/.exec(asError(error).message) ?? []
    throw code === undefined ? error : errorOf(Number(code))
  }
}

function errorOf(code: number): Error {
  if (code === noMemory || code === memoryLimit) {
    return unpackError(
      'xz',
      'unsupported',
      'needs more than 64 MiB of memory (its dictionary) to be unpacked. Nothing was stored: pack it ' +
        'with a smaller one, `xz -dc FILE | xz -9 > NEW`.',
    )
  }
  if (code === unsupportedCheck || code === unsupportedOptions) {
    return unpackError(
      'xz',
      'unsupported',
      'has a check or filter that is not known here. Nothing was stored: pack it with the usual ' +
        'ones, `xz -dc FILE | xz > NEW`.',
    )
  }
  if (code === noProgress) return unpackError('xz', 'cut', '')
  return unpackError('xz', 'damaged', `the decoder's error ${code}`)
}
