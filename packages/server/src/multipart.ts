// Uploads as a form: the field "name", optional fields, then "file". The form is parsed while it
// streams; the file's bytes end only when the whole form has proved to be right, so that a fault
// behind the file still stores nothing.

import { Busboy, type BusboyInstance } from '@fastify/busboy'
import { assertName, type Bytes, ImageError, asError } from '@backing-image/core'
import { bodyOf, contentLength } from './body.ts'
import { FormFrame, broken, headerBytesMax, headersMax } from './form-frame.ts'
import type { Call } from './front.ts'
import { invalid } from './problem.ts'
import { readQuery } from './query.ts'
import { type GivenOptions, readOptions, singleOptions } from './upload-options.ts'
import { type Front, assertIdentity, assertSize, ingest, ingestRequest, inTurn } from './upload.ts'

/** What a form may have besides the file's bytes. */
const formBytesMax = 1024 * 1024
const fieldBytesMax = 64 * 1024
const fieldsMax = 100
/** RFC 2046 §5.1.1: 1 to 70 characters, of which a blank is not the last. */
const boundaryForm =
  /;\s*boundary=(?:"([\w'()+,./:=? -]{0,69}[\w'()+,./:=?-])"|([\w'()+,./:=?-]{1,70}))\s*(?:;|$)/i

const singleFields = ['name', ...singleOptions] as const
const order = 'Fields in this order are expected: name, optional ones, file.'

/** Handles POST /v1/backing-images with multipart/form-data. */
export async function uploadForm(c: Call, front: Front): Promise<Response> {
  const { config } = front
  assertIdentity(c)
  // Options are fields here: one in the query would be missed.
  readQuery(c)
  if (c.req.header('content-digest') ?? c.req.header('repr-digest')) {
    throw invalid('A digest header would be that of the form; send the field "checksum" instead.')
  }
  const length = contentLength(c.env.incoming) ?? 0
  assertSize(length <= formBytesMax ? 0 : length - formBytesMax, config.imageBytesMax)
  const contentType = c.req.header('content-type') ?? ''
  return await inTurn(c, front, async (signal) => {
    const form = new Form(contentType, config.imageBytesMax + formBytesMax)
    try {
      const { name, ...given } = await form.read(bodyOf(c, config.idleTimeoutMs))
      const request = ingestRequest(c, front, name, readOptions(given))
      return await ingest(c, front, { request, open: () => form.file(), signal })
    } finally {
      form.stop()
    }
  })
}

type Fields = GivenOptions & { name: string }
type FileStream = AsyncIterable<Uint8Array> & { destroy(error: Error): unknown }

/** One form: `read` gives the fields before the file, then `file` its bytes. */
export class Form {
  readonly #parser: BusboyInstance
  readonly #frame: FormFrame
  readonly #bytesMax: number
  readonly #fields: GivenOptions & { name?: string } = {}
  readonly #head = new Settled<Fields>()
  readonly #whole = new Settled<void>()
  #file: FileStream | undefined
  #failure: Error | undefined
  #parsedParts = 0
  #isParsed = false
  #isRead = false
  #isStopped = false
  #parsed = () => {}

  /** Throws `invalid_request` unless the content type has a boundary. */
  constructor(contentType: string, bytesMax: number) {
    this.#bytesMax = bytesMax
    const [, quoted, bare] = boundaryForm.exec(contentType) ?? []
    const boundary = quoted ?? bare
    if (boundary === undefined) {
      throw invalid(
        'The Content-Type has no boundary: multipart/form-data; boundary=… is expected.',
      )
    }
    this.#frame = new FormFrame(boundary)
    const parser = new Busboy({
      headers: { 'content-type': contentType },
      isPartAFile: (name) => name === 'file',
      limits: {
        fields: fieldsMax,
        fieldSize: fieldBytesMax,
        headerPairs: headersMax,
        // More than the frame lets through: it drops what has too many without a word.
        headerSize: 2 * headerBytesMax,
      },
    })
    this.#parser = parser
    parser.on('field', (name: string | undefined, value, _, isTruncated) =>
      this.#attempt(() => this.#addField(name, value, isTruncated)),
    )
    parser.on('file', (_, stream, filename: string | undefined) => {
      // What it fails with is told by `fail`; without a listener it would end the process.
      stream.on('error', () => {})
      this.#attempt(() => this.#beginFile(stream, filename))
    })
    parser.on('fieldsLimit', () => this.#fail(invalid(`The form has over ${fieldsMax} fields.`)))
    parser.on('error', (error) => this.#fail(broken(asError(error).message)))
    parser.on('finish', () => {
      this.#isParsed = true
      this.#attempt(() => this.#finish())
    })
  }

  /** The fields, as soon as the file begins. */
  async read(body: Bytes): Promise<Fields> {
    this.#pump(body).catch((error: unknown) => this.#fail(asError(error)))
    return await this.#head.promise
  }

  /** The bytes of the file. They end when the whole form has been read and is right. */
  async *file(): AsyncGenerator<Uint8Array, void, undefined> {
    try {
      if (this.#file) yield* this.#file
    } catch (error) {
      throw this.#failure ?? error
    }
    await this.#whole.promise
  }

  /** Nobody wants more of it. */
  stop(): void {
    this.#isStopped = true
    this.#parsed()
  }

  async #pump(body: Bytes): Promise<void> {
    let length = 0
    for await (const chunk of body) {
      if (this.#isStopped) return
      length += chunk.length
      if (length > this.#bytesMax) throw tooLarge(this.#bytesMax)
      this.#frame.push(chunk)
      // Comes back when the reader of the file has room: the socket waits for the store.
      await new Promise<void>((resolve) => {
        this.#parsed = resolve
        this.#parser.write(chunk, () => resolve())
      })
      if (this.#isStopped) return
    }
    this.#frame.end()
    this.#isRead = true
    this.#parser.end()
    this.#finish()
  }

  #addField(name: string | undefined, value: string, isTruncated: boolean): void {
    this.#parsedParts += 1
    const shown = JSON.stringify((name ?? '').slice(0, 80))
    if (this.#file) throw invalid(`The field ${shown} comes after the file. ${order}`)
    if (isTruncated) throw invalid(`The field ${shown} has over ${fieldBytesMax} bytes.`)
    if (name === 'label') {
      this.#fields.label = [...(this.#fields.label ?? []), value]
      return
    }
    const known = singleFields.find((each) => each === name)
    if (known === undefined) {
      const list = [...singleFields, 'label', 'file'].join(', ')
      throw invalid(`The form has an unknown field ${shown}; known are ${list}.`)
    }
    if (this.#fields[known] !== undefined) throw invalid(`The field ${shown} comes twice.`)
    this.#fields[known] = value
    if (known === 'name') assertName(value)
  }

  #beginFile(stream: FileStream, filename: string | undefined): void {
    this.#parsedParts += 1
    if (this.#file) {
      stream.destroy(new Error('a second file'))
      throw invalid('The form has two files; one image is taken at a time.')
    }
    this.#file = stream
    const { name } = this.#fields
    if (name === undefined) throw invalid(`There is no field "name" before "file". ${order}`)
    // What a browser sends when nothing was chosen.
    if (filename === '') throw invalid('The file has an empty file name: no file was chosen.')
    this.#head.resolve({ ...this.#fields, name })
  }

  /** What may follow the last boundary must have come too: it is part of the request. */
  #finish(): void {
    if (!this.#isParsed || !this.#isRead) return
    const { parts } = this.#frame
    if (this.#parsedParts !== parts) {
      throw broken(`${parts - this.#parsedParts} of its ${parts} parts can not be read`)
    }
    if (!this.#file) throw invalid(`The form has no field "file". ${order}`)
    this.#whole.resolve()
  }

  #attempt(act: () => void): void {
    try {
      if (!this.#failure) act()
    } catch (error) {
      this.#fail(asError(error))
    }
  }

  #fail(error: Error): void {
    this.#failure ??= error
    this.#head.reject(error)
    this.#whole.reject(error)
    this.#file?.destroy(error)
    this.stop()
  }
}

/** A promise that is settled from elsewhere, and whose failure may go unheard. */
class Settled<T> {
  readonly promise: Promise<T>
  resolve: (value: T) => void = () => {}
  reject: (error: Error) => void = () => {}

  constructor() {
    this.promise = new Promise((resolve, reject) => {
      this.resolve = resolve
      this.reject = reject
    })
    this.promise.catch(() => {})
  }
}

function tooLarge(bytesMax: number): ImageError {
  return new ImageError('invalid_argument', `The form has over ${bytesMax} bytes.`, {
    reason: 'too_large',
    expected: String(bytesMax),
  })
}
