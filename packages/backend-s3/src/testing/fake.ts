// A small S3 server inside the test's process, for what real servers do not do on demand: it answers
// late, wrong, or not at all, and it tells what it was asked.

import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { setTimeout as pause } from 'node:timers/promises'
import { type Fault, type Matcher, Rule } from './faults.ts'
import { Medium, type MediumOptions, Refusal } from './medium.ts'
import { type Answer, assertBody, conditionOf, errorAnswer, perform } from './operations.ts'
import { type Operation, type Seen, seenOf } from './request.ts'

export interface FakeS3Options extends Partial<MediumOptions> {
  /** The most that a page of any list holds. */
  pageMax?: number
}

/** Thrown to end a request without an answer: the connection is cut. */
class Cut extends Error {}

const methodsWithBody = new Set(['PUT', 'POST'])

export class FakeS3 {
  readonly bucket = 'images'
  readonly region = 'us-east-1'
  readonly accessKeyId = 'FAKEACCESSKEYID'
  readonly secretAccessKey = 'fake+secret/access+key'
  /** Such as `http://127.0.0.1:40123`. */
  readonly endpoint: string
  readonly medium: Medium
  /** Every request, in the order in which their heads came. */
  readonly seen: Seen[] = []
  pageMax: number
  readonly #server: Server
  #rules: Rule[] = []

  private constructor(server: Server, { pageMax = 1000, ...options }: FakeS3Options) {
    this.#server = server
    this.pageMax = pageMax
    this.endpoint = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
    const usual = { partMinBytes: 5 * 1024 * 1024, revives: false }
    this.medium = new Medium({ ...usual, completesAgain: false, ...options })
    const handle = (request: IncomingMessage, response: ServerResponse): void => {
      void this.#handle(request, response)
    }
    server.on('request', handle)
    // Without this listener the body would be asked for before anything is checked.
    server.on('checkContinue', handle)
  }

  static async start(options: FakeS3Options = {}): Promise<FakeS3> {
    const server = createServer({ requestTimeout: 0, headersTimeout: 0, keepAliveTimeout: 60_000 })
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject)
      server.listen(0, '127.0.0.1', resolve)
    })
    return new FakeS3(server, options)
  }

  /** Cuts every connection. */
  async stop(): Promise<void> {
    this.calm()
    const closed = new Promise((resolve) => this.#server.close(resolve))
    this.#server.closeAllConnections()
    await closed
  }

  /** From now on `fault` meets the requests that match; of several rules the first that does. */
  on(matcher: Matcher, fault: Fault): Rule {
    const rule = new Rule(matcher, fault)
    this.#rules.push(rule)
    return rule
  }

  /** No more faults; what was stalled goes on. */
  calm(): void {
    for (const rule of this.#rules) rule.lift()
    this.#rules = []
  }

  /** How many requests of these operations it has seen, of all when none is named. */
  count(...operations: Operation[]): number {
    if (operations.length === 0) return this.seen.length
    return this.seen.filter(({ operation }) => operations.includes(operation)).length
  }

  /** Requests that are not ended. */
  open(...operations: Operation[]): Seen[] {
    return this.seen.filter(
      ({ end, operation }) =>
        end === undefined && (operations.length === 0 || operations.includes(operation)),
    )
  }

  /** The bytes under a key of the bucket; undefined where there is none. */
  content(key: string): Buffer | undefined {
    return this.medium.objects.get(key)?.body
  }

  async #handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const seen = seenOf(request)
    this.seen.push(seen)
    request.on('error', () => undefined)
    response.on('error', () => undefined)
    response.on('close', () => {
      seen.end ??= response.writableFinished ? 'answered' : 'left'
    })
    this.#rules = this.#rules.filter((each) => !each.isLifted)
    // Every rule counts, so that `from` means what it says when two match.
    const [rule] = this.#rules.filter((each) => each.meets(seen))
    try {
      await this.#serve(seen, request, response, rule)
    } catch (error) {
      seen.end ??= error instanceof Cut ? 'cut' : 'left'
      request.destroy()
      response.destroy()
    }
  }

  async #serve(
    seen: Seen,
    request: IncomingMessage,
    response: ServerResponse,
    rule: Rule | undefined,
  ): Promise<void> {
    const fault = rule?.fault
    const send = (answer: Answer): Promise<void> => writeAnswer(seen, response, answer, fault)
    const refusal = this.#refusal(seen, fault)
    const waits = request.headers.expect !== undefined
    if (refusal) {
      // A client that waited for "100 Continue" sends no body, and the connection is of no more use.
      if (waits) response.setHeader('connection', 'close')
      request.resume()
      await send(errorAnswer(refusal.status, refusal.code))
      return
    }
    if (waits) response.writeContinue()
    const body = await readBody(seen, request, fault)
    if (rule && fault?.kind === 'stall' && fault.when === 'before') await stalled(rule, response)
    if (fault?.kind === 'refuse') {
      await send(errorAnswer(fault.status, fault.code))
      return
    }
    const isConditional = fault?.kind !== 'ignore condition' && fault?.kind !== 'early condition'
    const isDone = !(fault?.kind === 'error in 200' && fault.when === 'before')
    const answer = isDone ? this.#perform(seen, body, isConditional) : { status: 200 }
    if (rule && fault?.kind === 'stall' && fault.when === 'after') await stalled(rule, response)
    if (fault?.kind === 'lose') throw new Cut()
    if (fault?.kind === 'deny') await send(errorAnswer(fault.status, fault.code))
    else if (fault?.kind === 'error in 200') {
      await send({ ...errorAnswer(200, fault.code), status: 200 })
    } else await send(answer)
  }

  /** What can be told from the head alone. */
  #refusal(seen: Seen, fault: Fault | undefined): Refusal | undefined {
    try {
      this.#assertAuthorized(seen)
      if (seen.bucket !== this.bucket) throw new Refusal(404, 'NoSuchBucket')
      if (fault?.kind === 'refuse' && fault.isEarly === true) {
        throw new Refusal(fault.status, fault.code)
      }
      const { headers } = seen
      if (String(headers['content-encoding']).includes('aws-chunked')) {
        throw new Refusal(501, 'NotImplemented', 'aws-chunked')
      }
      if (methodsWithBody.has(seen.method) && headers['transfer-encoding'] !== undefined) {
        throw new Refusal(411, 'MissingContentLength')
      }
      if (fault?.kind === 'early condition') {
        this.medium.assertCondition(seen.key, conditionOf(seen))
      }
      return undefined
    } catch (error) {
      if (error instanceof Refusal) return error
      throw error
    }
  }

  /** Signatures are not checked; only that there is one, and that it is young enough. */
  #assertAuthorized({ headers, query }: Seen): void {
    const credential =
      query.get('X-Amz-Credential') ??
      /^AWS4-HMAC-SHA256 Credential=([^,]+),/.exec(headers.authorization ?? '')?.[1]
    if (credential === undefined) throw new Refusal(403, 'AccessDenied')
    if (!credential.startsWith(`${this.accessKeyId}/`)) throw new Refusal(403, 'InvalidAccessKeyId')
    const date = query.get('X-Amz-Date')
    if (date !== null) {
      const at = date.replace(/^(....)(..)(..T..)(..)(..Z)$/, '$1-$2-$3:$4:$5')
      const expiresMs = Date.parse(at) + 1000 * Number(query.get('X-Amz-Expires'))
      // NaN must refuse too.
      if (!(Date.now() < expiresMs)) throw new Refusal(403, 'AccessDenied', 'Request has expired')
    }
  }

  #perform(seen: Seen, body: Buffer, isConditional: boolean): Answer {
    try {
      assertBody(seen, body)
      return perform(this.medium, seen, body, { pageMax: this.pageMax, isConditional })
    } catch (error) {
      if (error instanceof Refusal) return errorAnswer(error.status, error.code, error.message)
      throw error
    }
  }
}

/** Until the rule is lifted; a client that leaves ends it. */
async function stalled(rule: Rule, response: ServerResponse): Promise<void> {
  const left = new Promise((_, reject) => {
    response.once('close', () => reject(new Error('the client has left')))
  })
  await Promise.race([rule.lifted, left])
}

async function readBody(
  seen: Seen,
  request: IncomingMessage,
  fault: Fault | undefined,
): Promise<Buffer> {
  const chunks: Buffer[] = []
  for await (const chunk of request as AsyncIterable<Buffer>) {
    chunks.push(chunk)
    seen.bodyBytes += chunk.length
    if (fault?.kind === 'cut request' && seen.bodyBytes >= fault.afterBytes) throw new Cut()
    if (fault?.kind === 'slow') await pause((1000 * chunk.length) / fault.bytesPerSecond)
  }
  if (fault?.kind === 'cut request') throw new Cut()
  return Buffer.concat(chunks)
}

/** Up to the end, or to where the fault cuts. */
async function writeAnswer(
  seen: Seen,
  response: ServerResponse,
  answer: Answer,
  fault: Fault | undefined,
): Promise<void> {
  if (response.destroyed) return
  if (fault?.kind === 'cut answer' && (seen.method === 'HEAD' || answer.status === 204)) {
    throw new Cut()
  }
  const body = Buffer.from(answer.body ?? '')
  const isHead = seen.method === 'HEAD'
  const wrongBy = fault?.kind === 'wrong length' ? fault.byBytes : 0
  const lengthBytes = (answer.sizeBytes ?? body.length) + wrongBy
  seen.status = answer.status
  const length = { 'content-length': String(Math.max(0, lengthBytes)) }
  const hasLength = answer.status !== 204 && answer.status !== 304
  response.writeHead(answer.status, { ...answer.headers, ...(hasLength ? length : {}) })
  if (isHead || !hasLength) {
    response.end()
    return
  }
  const isCut = fault?.kind === 'cut answer' || fault?.kind === 'hang answer'
  const cutAt = isCut ? fault.afterBytes : Infinity
  const most = Math.min(body.length, lengthBytes, cutAt)
  const stepBytes = fault?.kind === 'slow' ? Math.ceil(fault.bytesPerSecond / 20) : 256 * 1024
  for (let at = 0; at < most && !response.destroyed; at += stepBytes) {
    const chunk = body.subarray(at, Math.min(most, at + stepBytes))
    const isTaken = response.write(chunk)
    if (!isTaken) await drained(response)
    if (fault?.kind === 'slow') await pause((1000 * chunk.length) / fault.bytesPerSecond)
  }
  if (fault?.kind === 'hang answer') {
    response.flushHeaders()
    await new Promise((resolve) => response.once('close', resolve))
    return
  }
  if (isCut || most < lengthBytes) {
    // What was written has to leave before the connection is cut.
    response.flushHeaders()
    while (!response.destroyed && response.writableLength > 0) await pause(1)
    throw new Cut()
  }
  response.end()
}

async function drained(response: ServerResponse): Promise<void> {
  await new Promise<void>((resolve) => {
    const go = (): void => {
      response.off('drain', go)
      response.off('close', go)
      resolve()
    }
    response.once('drain', go)
    response.once('close', go)
  })
}
