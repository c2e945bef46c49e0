// A client of the HTTP API on Node's own http module: it sends bodies in ways that well-behaved and
// badly behaved clients do, and tells exactly what was answered.

import { createHash } from 'node:crypto'
import http from 'node:http'

const answerBytesMax = 64 * 1024 * 1024

/** One request. Resolves to status, headers and body; rejects when no whole answer came. */
export function request(url, { method = 'GET', headers = {}, body, timeoutMs = 90_000 } = {}) {
  return new Promise((resolve, reject) => {
    const outgoing = http.request(url, { method, headers, agent: false })
    const timer = setTimeout(() => {
      outgoing.destroy(new Error(`${method} ${url} was not answered within ${timeoutMs} ms.`))
    }, timeoutMs)
    const settle = (how, value) => {
      clearTimeout(timer)
      how(value)
    }
    outgoing.on('response', (incoming) => {
      const chunks = []
      let length = 0
      incoming.on('data', (chunk) => {
        length += chunk.length
        if (length > answerBytesMax) incoming.destroy(new Error(`${url} answers too much.`))
        chunks.push(chunk)
      })
      incoming.on('error', (error) => settle(reject, error))
      incoming.on('end', () => {
        if (!incoming.complete) return settle(reject, new Error(`${url} was cut.`))
        const { statusCode: status, headers: answered } = incoming
        return settle(resolve, { status, headers: answered, body: Buffer.concat(chunks) })
      })
    })
    // A server that refuses may close before it has read the whole body: the answer counts.
    outgoing.on('error', (error) => settle(reject, error))
    if (body === undefined) outgoing.end()
    else sendBody(outgoing, body).catch((error) => outgoing.destroy(error))
  })
}

/** `body` is a Buffer, or an async iterable of them. */
async function sendBody(outgoing, body) {
  if (Buffer.isBuffer(body)) return outgoing.end(body)
  for await (const chunk of body) {
    if (outgoing.destroyed) return undefined
    if (outgoing.write(chunk)) continue
    await new Promise((resolve) => {
      const go = () => {
        outgoing.off('drain', go).off('close', go)
        resolve()
      }
      outgoing.on('drain', go).on('close', go)
    })
  }
  return outgoing.end()
}

export const listPath = '/v1/backing-images'

/** `PUT /v1/backing-images/{name}`: with a Content-Length unless the body is an iterable. */
export function put(url, name, body, { query = {}, headers = {}, timeoutMs } = {}) {
  const search = new URLSearchParams(query)
  const length = Buffer.isBuffer(body) ? { 'Content-Length': body.length } : {}
  return request(`${url}${listPath}/${name}?${search}`, {
    method: 'PUT',
    headers: { ...length, ...headers },
    body,
    ...(timeoutMs && { timeoutMs }),
  })
}

/** `POST /v1/backing-images` as a form. */
export function postForm(url, name, body, fields = {}) {
  const boundary = 'crash-0123456789'
  const parts = Object.entries({ name, ...fields }).map(
    ([key, value]) =>
      `--${boundary}\r\nContent-Disposition: form-data; name="${key}"\r\n\r\n${value}\r\n`,
  )
  parts.push(
    `--${boundary}\r\nContent-Disposition: form-data; name="file"; filename="a.img"\r\n` +
      'Content-Type: application/octet-stream\r\n\r\n',
  )
  const whole = Buffer.concat([
    Buffer.from(parts.join('')),
    body,
    Buffer.from(`\r\n--${boundary}--\r\n`),
  ])
  return request(`${url}${listPath}`, {
    method: 'POST',
    headers: {
      'Content-Type': `multipart/form-data; boundary=${boundary}`,
      'Content-Length': whole.length,
    },
    body: whole,
  })
}

export function rollback(url, name, version) {
  const body = Buffer.from(JSON.stringify({ version }))
  return request(`${url}${listPath}/${name}/rollback`, {
    method: 'POST',
    headers: { 'Content-Type': 'application/json', 'Content-Length': body.length },
    body,
  })
}

export function remove(url, name, version) {
  const query = version === undefined ? '' : `?version=${version}`
  return request(`${url}${listPath}/${name}${query}`, { method: 'DELETE' })
}

/**
 * `POST /v1/backing-images`: asks the server to fetch an image; `more` is the rest of the document. Of a
 * 202 the answer has `path`, where to ask for what becomes of it, and the `uuid` of that.
 */
export async function pull(url, name, source, more = {}) {
  const document = { name, sourceType: 'download', parameters: { url: source }, ...more }
  const body = Buffer.from(JSON.stringify(document))
  const answer = await request(`${url}${listPath}`, {
    method: 'POST',
    headers: { 'Content-Type': 'application/json', 'Content-Length': body.length },
    body,
  })
  if (answer.status !== 202) return answer
  const { pathname, search, searchParams } = new URL(answer.headers.location)
  return { ...answer, path: `${pathname}${search}`, uuid: searchParams.get('uuid') }
}

export async function getJson(url) {
  const answer = await request(url)
  const { status } = answer
  if (status !== 200) throw Object.assign(new Error(`${url}: ${status} ${answer.body}`), { status })
  return JSON.parse(answer.body.toString())
}

/** Every page of a list. */
export async function listAll(url) {
  const found = []
  let token
  do {
    const search = new URLSearchParams({ limit: '1000', ...(token && { continue: token }) })
    const page = await getJson(`${url}?${search}`)
    found.push(...page.data)
    token = page.continue
  } while (token)
  return found
}

export function listImages(url) {
  return listAll(`${url}${listPath}`)
}

export function listVersions(url, name) {
  return listAll(`${url}${listPath}/${name}/versions`)
}

/** Downloads a version; resolves to its digest and length, and rejects when it was cut. */
export async function download(url, name, version) {
  const answer = await request(`${url}${listPath}/${name}/download?version=${version}`)
  if (answer.status !== 200) {
    throw new Error(`Download of ${name} ${version}: ${answer.status} ${answer.body}`)
  }
  return { sha512: sha512Of(answer.body), size: answer.body.length }
}

export function sha512Of(body) {
  return createHash('sha512').update(body).digest('hex')
}
