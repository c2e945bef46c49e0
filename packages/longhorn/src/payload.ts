// The bytes of an image that Longhorn has: its API sends them packed by gzip, without a length, and when
// it fails on the way it ends as if all were well (contract §2.5). What comes is held against what it told.

import type { IncomingMessage } from 'node:http'
import { type Bytes, type Opening, asError, unpackGzip } from '@backing-image/core'
import type { LonghornClient } from './client.ts'
import { LonghornError } from './failure.ts'
import type { LonghornImage } from './resource.ts'

/** An image that is ready, as a source gives it. Only gzip of the API is unpacked, not what is in it. */
export function openingOf(
  client: LonghornClient,
  image: LonghornImage,
  signal: AbortSignal,
): Opening {
  const { size, currentChecksum } = image
  return {
    size,
    // There are no ranges: what breaks off begins anew.
    offset: 0,
    expected: [`sha512:${currentChecksum}`],
    bytes: payloadOf(client, image, signal),
  }
}

/**
 * Asks for the bytes when the first of them is wanted. Throws `unavailable` where not exactly those that
 * were told of come: the next try may do better. Sparse volumes pack so well that no ratio is too high;
 * their length is the limit.
 */
export async function* payloadOf(
  client: LonghornClient,
  { name, size }: LonghornImage,
  signal: AbortSignal,
): AsyncGenerator<Uint8Array, void, undefined> {
  let message: IncomingMessage | undefined
  let bytes = 0
  try {
    message = await client.download(name, signal)
    for await (const chunk of unpackGzip(wanted(message, client.idleTimeoutMs), signal)) {
      bytes += chunk.length
      if (bytes > size) break
      yield chunk
    }
  } catch (error) {
    signal.throwIfAborted()
    throw error instanceof LonghornError ? error : brokeOff(name, error, asError(error).message)
  } finally {
    message?.destroy()
  }
  if (bytes === size) return
  const came = bytes > size ? 'more' : `only ${bytes}`
  throw brokeOff(name, undefined, `it told of ${size} bytes, and ${came} came`)
}

/** Something must come when it is wanted; that nothing is wanted for a while is no fault of Longhorn. */
async function* wanted(message: IncomingMessage, idleTimeoutMs: number): Bytes {
  message.socket.setTimeout(0)
  const silence = new Error(`nothing came for ${idleTimeoutMs / 1000} s`)
  const chunks = message[Symbol.asyncIterator]() as AsyncIterator<Buffer>
  for (;;) {
    const timer = setTimeout(() => message.destroy(silence), idleTimeoutMs)
    const step = await chunks.next().finally(() => clearTimeout(timer))
    if (step.done) return
    yield step.value
  }
}

function brokeOff(name: string, cause: unknown, why: string): LonghornError {
  return new LonghornError(`Longhorn did not give ${name} whole: ${why.replace(/\.$/, '')}.`, {
    code: 'unavailable',
    cause,
  })
}
