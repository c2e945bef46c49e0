// The frame of a form: its boundaries and the headers of its parts. The parser of forms passes over
// what it can not read; what we store must be all that was sent, so that the frame has to be exact.

import { invalid } from './problem.ts'

/** What the headers of one part may have. */
export const headerBytesMax = 16_384
export const headersMax = 32

const lineBreak = '\r\n'
const carriageReturn = 13
const header = /^[\w!#$%&'*+.^`|~-]+:[^\r\n]*$/
const formData = /^content-disposition:[ \t]*form-data[ \t]*(;|$)/i
const coded = /^content-transfer-encoding:(?![ \t]*(7bit|8bit|binary)[ \t]*$)/i

/** Watches the bytes of a form pass; throws `invalid_request` for what is no exact frame. */
export class FormFrame {
  readonly #delimiter: Buffer
  #state: 'start' | 'headers' | 'content' | 'closed' = 'start'
  /** What is not settled yet. The first boundary needs no line break before it: it gets one. */
  #rest: Buffer = Buffer.from(lineBreak)
  #parts = 0

  constructor(boundary: string) {
    this.#delimiter = Buffer.from(`${lineBreak}--${boundary}`)
  }

  /** How many parts have begun. */
  get parts(): number {
    return this.#parts
  }

  push(chunk: Uint8Array): void {
    const view = Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength)
    let bytes = this.#rest.length > 0 ? Buffer.concat([this.#rest, view]) : view
    for (;;) {
      const next = this.#advance(bytes)
      if (next === undefined) break
      bytes = next
    }
  }

  /** Throws unless the last boundary was there. */
  end(): void {
    if (this.#state !== 'closed') throw broken('it ends before its closing boundary')
  }

  /** Takes one element of the frame; undefined when more bytes must come first. */
  #advance(bytes: Buffer): Buffer | undefined {
    if (this.#state === 'start') return this.#takeStart(bytes)
    if (this.#state === 'headers') return this.#takeHeaders(bytes)
    if (this.#state === 'content') {
      return this.#takeDelimiter(bytes, bytes.indexOf(this.#delimiter))
    }
    if (/[^ \t\r\n]/.test(bytes.toString('latin1'))) {
      throw broken('more follows its closing boundary')
    }
    return this.#wait(bytes, bytes.length)
  }

  #takeStart(bytes: Buffer): Buffer | undefined {
    const at = bytes.indexOf(this.#delimiter)
    const isShort = bytes.length < this.#delimiter.length + lineBreak.length
    if (at === -1 && isShort) return this.#wait(bytes, 0)
    if (at !== 0 && at !== lineBreak.length) throw broken('it does not begin with its boundary')
    return this.#takeDelimiter(bytes, at)
  }

  #takeDelimiter(bytes: Buffer, at: number): Buffer | undefined {
    if (at === -1) {
      const tail = Math.max(bytes.length - this.#delimiter.length + 1, 0)
      const start = bytes.indexOf(carriageReturn, tail)
      return this.#wait(bytes, start === -1 ? bytes.length : start)
    }
    // RFC 2046 §5.1.1: a line that begins with the boundary is one, whatever comes after it.
    const end = at + this.#delimiter.length
    const after = bytes.toString('latin1', end, end + 2)
    if (after.length < 2) return this.#wait(bytes, at)
    if (after !== lineBreak && after !== '--') {
      throw broken('a boundary is followed by neither a line break nor "--"')
    }
    this.#state = after === '--' ? 'closed' : 'headers'
    // The line break stays: it may begin the blank line, or a boundary where headers should be.
    return bytes.subarray(after === '--' ? end + 2 : end)
  }

  #takeHeaders(bytes: Buffer): Buffer | undefined {
    const end = bytes.subarray(0, headerBytesMax).indexOf('\r\n\r\n')
    const reach = headerBytesMax + this.#delimiter.length
    const cut = bytes.subarray(0, reach).indexOf(this.#delimiter)
    // The second line break of the blank line may begin a boundary.
    if (cut !== -1 && (end === -1 || cut <= end + 2)) throw broken('a part ends within its headers')
    if (end === -1 && bytes.length >= headerBytesMax) {
      throw broken(`the headers of a part have over ${headerBytesMax} bytes`)
    }
    // At least one boundary must follow, so that this waits for nothing that may be missing.
    if (end === -1 || bytes.length < end + 2 + this.#delimiter.length) return this.#wait(bytes, 0)
    checkHeaders(bytes.toString('latin1', lineBreak.length, Math.max(end, lineBreak.length)))
    this.#parts += 1
    this.#state = 'content'
    return bytes.subarray(end + 4)
  }

  #wait(bytes: Buffer, from: number): undefined {
    // A copy: what has been handed on must not stay in memory for its last bytes.
    this.#rest = Buffer.from(bytes.subarray(from))
  }
}

function checkHeaders(block: string): void {
  const lines = block === '' ? [] : block.split(lineBreak)
  if (lines.length > headersMax) throw broken(`a part has over ${headersMax} headers`)
  if (!lines.every((line) => header.test(line))) throw broken('a part has a line that is no header')
  const dispositions = lines.filter((line) => /^content-disposition:/i.test(line))
  if (dispositions.length !== 1 || !formData.test(dispositions[0] ?? '')) {
    throw broken('each part must have one header "Content-Disposition: form-data; name=…"')
  }
  // RFC 7578 §4.7: deprecated; the parser would take the coded bytes for the image.
  if (lines.some((line) => coded.test(line))) {
    throw broken('a part has a Content-Transfer-Encoding; send its bytes as they are')
  }
}

/** `what` completes "The form is broken: …". */
export function broken(what: string): Error {
  return invalid(`The form is broken: ${what}.`)
}
