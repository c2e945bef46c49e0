// The secrets that sources may be given: each a file of its own in SOURCE_SECRETS_DIR, which says what is
// sent and to which hosts. A request names a file and nothing else.

import { type FileHandle, constants, open } from 'node:fs/promises'
import { join } from 'node:path'
import { type Credential, isImageError } from '@backing-image/core'
import { z } from 'zod'
import { invalid } from './problem.ts'

const namePattern = /^[A-Za-z0-9][A-Za-z0-9._-]{0,252}$/
const secretBytesMax = 64 * 1024
/** RFC 9110 §5.6.2 and §5.5. */
const headerName = z.string().regex(/^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,100}$/)
const headerValue = z.string().regex(/^[\x20-\x7e\x80-\xff]{0,8192}$/)

const form = z
  .strictObject({
    hosts: z.array(z.string().min(1)).min(1).max(100),
    headers: z.record(headerName, headerValue).optional(),
    username: z.string().optional(),
    password: z.string().optional(),
    token: z
      .string()
      .regex(/^[\x21-\x7e]{1,4096}$/)
      .optional(),
  })
  .refine(({ username, password }) => (username === undefined) === (password === undefined))

/** Reads secrets by name; each time anew, so that a file can be changed. */
export class SourceSecrets {
  readonly #folder: string | undefined

  constructor(folder: string | undefined) {
    this.#folder = folder
  }

  /** Throws `invalid_argument` for a name that is none, and for a file that is not there or is no secret. */
  async read(name: string): Promise<Credential> {
    if (!namePattern.test(name)) {
      throw invalid(
        `credential.secretRef is ${JSON.stringify(name.slice(0, 80))}; the plain name of a file in ` +
          'SOURCE_SECRETS_DIR is expected.',
      )
    }
    if (this.#folder === undefined) {
      throw invalid(
        `credential.secretRef names ${name}, but SOURCE_SECRETS_DIR is not set: this server has no ` +
          'secrets for sources.',
      )
    }
    return credentialOf(name, await contentOf(join(this.#folder, name), name))
  }
}

async function contentOf(path: string, name: string): Promise<string> {
  let file: FileHandle | undefined
  try {
    // Nobody may ever write to what turns out to be a pipe.
    file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK)
    const stats = await file.stat()
    if (!stats.isFile()) throw invalid(`The secret ${name} is no plain file in SOURCE_SECRETS_DIR.`)
    if (stats.size <= secretBytesMax) return await file.readFile('utf8')
  } catch (error) {
    if (isImageError(error)) throw error
    const code = error instanceof Error && 'code' in error ? String(error.code) : 'unknown'
    const why = code === 'ENOENT' ? 'there is no such file' : `it can not be read (${code})`
    throw invalid(`The secret ${name}: ${why} in SOURCE_SECRETS_DIR.`)
  } finally {
    await file?.close()
  }
  throw invalid(`The secret ${name} is over ${secretBytesMax} bytes.`)
}

/** Nothing of the content is ever told. */
function credentialOf(name: string, content: string): Credential {
  const found = form.safeParse(parsed(content))
  if (!found.success) {
    throw invalid(
      `The secret ${name} is not as expected: JSON with "hosts" (a list of host names) and "headers", ` +
        '"username" and "password", or "token".',
    )
  }
  const { hosts, headers = {}, username, password, token } = found.data
  const basic = `Basic ${Buffer.from(`${username}:${password}`).toString('base64')}`
  const authorization =
    token !== undefined ? `Bearer ${token}` : username !== undefined ? basic : undefined
  return { hosts, headers: { ...headers, ...(authorization && { authorization }) } }
}

function parsed(content: string): unknown {
  try {
    return JSON.parse(content)
  } catch {
    return undefined
  }
}
