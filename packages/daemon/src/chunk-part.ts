// The bytes of an upload: the part `chunk` of a form. What comes before it is skipped, what comes after
// it is not looked at (contract §2.4).

import type { IncomingMessage } from 'node:http'
import { Busboy } from '@fastify/busboy'
import { ImageError, asError } from '@backing-image/core'

/** How long a sender may be silent while we wait for it (contract §4.3). */
const usualIdleTimeoutMs = 30_000
/** What is buffered between the parser and us. */
const bufferBytes = 1024 * 1024
const partsMax = 100

/**
 * The bytes of the part `chunk`, from a request that nobody has read yet. They throw when the sender
 * goes away or falls silent, and end where the part ends.
 */
export async function* readChunkPart(
  request: IncomingMessage,
  signal: AbortSignal,
  idleTimeoutMs: number = usualIdleTimeoutMs,
): AsyncGenerator<Uint8Array, void, undefined> {
  const contentType = request.headers['content-type'] ?? ''
  const parser = openParser(contentType)
  const ended = new AbortController()
  const stop = (error: Error): void => {
    ended.abort(error)
    request.unpipe(parser)
    part?.destroy(error)
  }
  let part: (NodeJS.ReadableStream & { destroy(error?: Error): void }) | undefined
  const found = new Promise<typeof part>((resolve, reject) => {
    parser.on('file', (name, stream) => {
      stream.on('error', () => {})
      if (name === 'chunk' && !part) {
        part = stream
        resolve(part)
      } else stream.resume()
    })
    parser.on('finish', () => resolve(undefined))
    parser.on('error', (error) => reject(broken(asError(error).message)))
    ended.signal.addEventListener('abort', () => reject(asError(ended.signal.reason)))
  })
  found.catch(() => {})
  const onAbort = (): void => stop(asError(signal.reason))
  const onGone = (): void => {
    if (!request.complete) stop(new ImageError('cancelled', 'the sender went away'))
  }
  parser.on('error', (error) => stop(broken(asError(error).message)))
  signal.addEventListener('abort', onAbort)
  request.on('close', onGone)
  const watch = watchIdle(request, idleTimeoutMs, () =>
    stop(new ImageError('cancelled', `no byte came for ${idleTimeoutMs} ms`)),
  )
  try {
    // It may have gone while a file of the disk was looked at.
    if (request.destroyed) onGone()
    signal.throwIfAborted()
    ended.signal.throwIfAborted()
    request.pipe(parser)
    const stream = await found
    if (!stream) {
      throw new ImageError(
        'invalid_argument',
        "cannot get the uploaded data since the upload request doesn't contain form 'chunk'",
      )
    }
    yield* stream as AsyncIterable<Uint8Array>
    ended.signal.throwIfAborted()
  } catch (error) {
    throw ended.signal.aborted ? ended.signal.reason : error
  } finally {
    clearInterval(watch)
    signal.removeEventListener('abort', onAbort)
    request.off('close', onGone)
    request.unpipe(parser)
  }
}

function openParser(contentType: string): InstanceType<typeof Busboy> {
  try {
    return new Busboy({
      headers: { 'content-type': contentType },
      isPartAFile: () => true,
      highWaterMark: bufferBytes,
      fileHwm: bufferBytes,
      limits: { parts: partsMax },
    })
  } catch (cause) {
    throw broken(asError(cause).message)
  }
}

/** Only while we would take more: our own slowness is nobody's silence. */
function watchIdle(
  request: IncomingMessage,
  idleTimeoutMs: number,
  onIdle: () => void,
): NodeJS.Timeout {
  let before = request.socket.bytesRead
  let changedAtMs = performance.now()
  return setInterval(() => {
    const { bytesRead } = request.socket
    const nowMs = performance.now()
    if (bytesRead !== before || request.isPaused() || request.complete) changedAtMs = nowMs
    before = bytesRead
    if (nowMs - changedAtMs >= idleTimeoutMs) onIdle()
  }, idleTimeoutMs / 30).unref()
}

function broken(what: string): ImageError {
  return new ImageError('invalid_argument', `the upload is no form that can be read: ${what}`)
}
