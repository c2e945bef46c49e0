// The data source that has made the first copy of an image on this disk (contract §2.2): what it has,
// and the word that it is ours now.

import { type IncomingMessage, request as requestHttp } from 'node:http'
import { ImageError, asError } from '@backing-image/core'
import { parseAddress } from '../address.ts'

/** What of its answer is looked at. */
export interface SourceFile {
  filePath: string
  uuid: string
  state: string
}

const timeoutMs = 10_000
const answerBytesMax = 1024 * 1024

/** What the data source at `address` has made. Rejects with `unavailable` for all that is no answer. */
export async function getSourceFile(address: string): Promise<SourceFile> {
  const text = await ask(address, { method: 'GET', path: '/v1/file', accepted: [200] })
  try {
    const { filePath, uuid, state }: Partial<Record<string, unknown>> = JSON.parse(text)
    return { filePath: String(filePath), uuid: String(uuid), state: String(state) }
  } catch (cause) {
    const what = `The data source at ${address} answered no JSON object: is it the right address?`
    throw new ImageError('unavailable', what, { cause })
  }
}

/** Tells it that its file is taken over; again is success. */
export async function transferSourceFile(address: string): Promise<void> {
  const path = '/v1/file?action=transfer'
  await ask(address, { method: 'POST', path, accepted: [200, 404] })
}

interface Question {
  method: string
  path: string
  accepted: number[]
}

async function ask(address: string, { method, path, accepted }: Question): Promise<string> {
  const { host, port } = parseAddress(address)
  const signal = AbortSignal.timeout(timeoutMs)
  const options = { host: host || 'localhost', port, method, path, signal, agent: false }
  try {
    const message = await new Promise<IncomingMessage>((resolve, reject) => {
      requestHttp(options, resolve).on('error', reject).end()
    })
    const text = await read(message)
    const status = message.statusCode ?? 0
    if (accepted.includes(status)) return text
    // The words of Longhorn's own client (contract §1.3).
    const what = `resp.StatusCode(${status}) != http.StatusOK(200), response body content: ${text}`
    throw new ImageError('unavailable', what)
  } catch (error) {
    if (error instanceof ImageError) throw error
    const why = signal.aborted ? `no answer for ${timeoutMs / 1000} s` : asError(error).message
    const what = `The data source at ${address} was not reached: ${why}.`
    throw new ImageError('unavailable', what, { cause: error })
  }
}

async function read(message: IncomingMessage): Promise<string> {
  const chunks: Uint8Array[] = []
  let length = 0
  for await (const chunk of message as AsyncIterable<Uint8Array>) {
    length += chunk.length
    if (length > answerBytesMax) throw new Error(`the answer has over ${answerBytesMax} bytes`)
    chunks.push(chunk)
  }
  return Buffer.concat(chunks).toString()
}
