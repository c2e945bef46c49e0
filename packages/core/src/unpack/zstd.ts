// Unpacks zstd as a stream (RFC 8878) by the reference implementation, which makes every check that
// the format has. It works in memory of WebAssembly: the window, at most 128 MiB, and two buffers.

import { ZSTDDecoder } from 'zstddec/stream'
import { unpackError } from '../compression.ts'

/** The functions that zstddec holds; its own loop over them never ends when data are damaged. */
interface Zstd {
  memory: { readonly buffer: ArrayBuffer }
  malloc(bytes: number): number
  free(pointer: number): void
  ZSTD_createDCtx(): number
  ZSTD_freeDCtx(context: number): void
  /** A hint of how much is to come, 0 at the end of a frame, or an error, negated. */
  ZSTD_decompressStream(context: number, output: number, input: number): number
}

/** The method of a decoder that is handed the functions when they are loaded. */
const hook = '_init'
type Hook = (result: { instance: { exports: unknown } }) => void

const inputBytes = 128 * 1024
const outputBytes = 256 * 1024
/** `struct ZSTD_inBuffer` and `ZSTD_outBuffer`: pointer, size and position, of 32 bits each. */
const structBytes = 12

/** From zstd_errors.h: how many errors there are, and the two that are no damage. */
const errorsMax = 120
const windowTooLarge = 16
const dictionaryWrong = 32

/** The library, loaded once a thread. */
export async function loadZstd(): Promise<Zstd> {
  const decoder = new ZSTDDecoder() as unknown as Record<typeof hook, Hook> & ZSTDDecoder
  const init = decoder[hook].bind(decoder)
  const instances: { exports: unknown }[] = []
  decoder[hook] = (result) => {
    init(result)
    instances.push(result.instance)
  }
  await decoder.init()
  return instances[0]?.exports as Zstd
}

/**
 * The unpacked bytes of all frames that follow each other in `packed`, in chunks that are valid until
 * the next is asked for.
 */
export function* unpackZstd(
  zstd: Zstd,
  packed: Iterable<Uint8Array>,
): Generator<Uint8Array, void, undefined> {
  const context = zstd.ZSTD_createDCtx()
  const [input, output] = [zstd.malloc(structBytes), zstd.malloc(structBytes)]
  const [source, target] = [zstd.malloc(inputBytes), zstd.malloc(outputBytes)]
  let toCome = 0
  try {
    for (const part of inParts(packed, inputBytes)) {
      bytesAt(zstd, source, part.length).set(part)
      writeStruct(zstd, input, source, part.length)
      for (let isMore = true; isMore;) {
        writeStruct(zstd, output, target, outputBytes)
        toCome = zstd.ZSTD_decompressStream(context, output, input) >>> 0
        if (toCome > 2 ** 32 - errorsMax) throw errorOf(2 ** 32 - toCome)
        const length = positionIn(zstd, output)
        if (length > 0) yield bytesAt(zstd, target, length)
        // At the end of a frame nothing is held back; another call would ask for the next one.
        const isHeldBack = length === outputBytes && toCome > 0
        isMore = positionIn(zstd, input) < part.length || isHeldBack
      }
    }
  } finally {
    for (const pointer of [input, output, source, target]) zstd.free(pointer)
    zstd.ZSTD_freeDCtx(context)
  }
  if (toCome > 0) throw unpackError('zstd', 'cut', '')
}

function* inParts(chunks: Iterable<Uint8Array>, bytesMax: number): Iterable<Uint8Array> {
  for (const chunk of chunks) {
    for (let at = 0; at < chunk.length; at += bytesMax) yield chunk.subarray(at, at + bytesMax)
  }
}

// The memory is another buffer whenever it has grown.

function bytesAt(zstd: Zstd, pointer: number, length: number): Uint8Array {
  return new Uint8Array(zstd.memory.buffer, pointer, length)
}

function writeStruct(zstd: Zstd, struct: number, pointer: number, length: number): void {
  new Uint32Array(zstd.memory.buffer, struct, 3).set([pointer, length, 0])
}

function positionIn(zstd: Zstd, struct: number): number {
  return new Uint32Array(zstd.memory.buffer, struct, 3)[2] ?? 0
}

function errorOf(code: number): Error {
  if (code === windowTooLarge) {
    return unpackError(
      'zstd',
      'unsupported',
      'needs more than 128 MiB of memory (its window) to be unpacked. Nothing was stored: pack it ' +
        'with a smaller one, `zstd -dc --long=31 FILE | zstd --long=27 > NEW`.',
    )
  }
  if (code === dictionaryWrong) {
    return unpackError(
      'zstd',
      'unsupported',
      'was packed with a dictionary, which is not here. Nothing was stored: pack it without one.',
    )
  }
  return unpackError('zstd', 'damaged', `zstd's error ${code}`)
}
