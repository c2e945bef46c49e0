// The kinds of values that a variable of the environment may hold. Each says what it expects, in the
// words that the fault will show.

import { X509Certificate } from 'node:crypto'
import { accessSync, constants, readFileSync, readdirSync } from 'node:fs'
import { isIP } from 'node:net'
import { isAbsolute, normalize } from 'node:path'
import { parseRule } from '@backing-image/core'
import { z } from 'zod'
import { durationForm, parseDuration, parseSize, sizeForm } from './quantity.ts'

/** A variable that is read from its text. */
export type Variable<T> = z.ZodType<T, string>

/** `parse` gives undefined when the text is not what is `expected`. */
export function variable<T>(expected: string, parse: (text: string) => T | undefined): Variable<T> {
  return z.string().transform((text, context): T => {
    const value = parse(text)
    if (value !== undefined) return value
    context.addIssue(expected)
    return z.NEVER
  })
}

export function matching(expected: string, pattern: RegExp): Variable<string> {
  return variable(expected, (text) => (pattern.test(text) ? text : undefined))
}

/** One of two or more words. */
export function choice<T extends string>(...words: T[]): Variable<T> {
  const expected = `${words.slice(0, -1).join(', ')} or ${words.at(-1)}`
  return variable(expected, (text) => words.find((each) => each === text))
}

/** A whole number; both bounds are allowed. */
export function integer(least: number, most: number): Variable<number> {
  return variable(`a whole number from ${least} to ${most}`, (text) =>
    /^[0-9]{1,9}$/.test(text) && Number(text) >= least && Number(text) <= most
      ? Number(text)
      : undefined,
  )
}

export const flag: Variable<boolean> = variable('true or false', (text) =>
  text === 'true' ? true : text === 'false' ? false : undefined,
)

const unlessZero = (value: number | undefined) => (value === 0 ? undefined : value)

/** Bytes; at least one. */
export const size: Variable<number> = variable(`${sizeForm}, over 0`, (text) =>
  unlessZero(parseSize(text)),
)

/** Milliseconds; 0 is allowed. */
export const duration: Variable<number> = variable(durationForm, (text) => parseDuration(text))

const yearMs = 365 * 24 * 3_600_000

/** Milliseconds between two things that are done by themselves. */
export const interval: Variable<number> = variable(
  'a duration such as 24h or 168h, from 1m to 8760h,',
  (text) => {
    const intervalMs = parseDuration(text, yearMs) ?? 0
    return intervalMs >= 60_000 ? intervalMs : undefined
  },
)

/** Milliseconds; at least one. */
export const timeLimit: Variable<number> = variable(`${durationForm}, over 0`, (text) =>
  unlessZero(parseDuration(text)),
)

/** A base that paths are appended to: it loses the slashes at its end. */
export const httpUrl: Variable<string> = variable(
  'an http or https URL without user, password, query and fragment',
  (text) => {
    if (!URL.canParse(text)) return undefined
    const { protocol, username, password } = new URL(text)
    const bare = username === '' && password === '' && !/[?#\s]/.test(text)
    return bare && /^https?:$/.test(protocol) ? text.replace(/\/+$/, '') : undefined
  },
)

/** As curl has it, `proxy:3128` is http://proxy:3128. It may hold a password. */
export const proxyUrl: Variable<string> = variable('a URL such as http://proxy:3128', (text) => {
  const url = text.includes('://') ? text : `http://${text}`
  return URL.canParse(url) && /^https?:$/.test(new URL(url).protocol) ? url : undefined
})

export const absolutePath: Variable<string> = variable('an absolute path', (text) =>
  isAbsolute(text) && !text.includes('\0') ? normalize(text) : undefined,
)

export const readableFile: Variable<string> = variable('a file that this user can read', (path) => {
  try {
    accessSync(path, constants.R_OK)
    return path
  } catch {
    return undefined
  }
})

export const readableFolder: Variable<string> = variable(
  'a folder that this user can read',
  (path) => {
    try {
      readdirSync(path)
      return path
    } catch {
      return undefined
    }
  },
)

/** See AddressRules. */
export const addressRules: Variable<string[]> = variable(
  'addresses, networks such as 10.0.0.0/8, host names such as *.example.com, or *, with "," between',
  (text) => {
    const rules = text.split(',').map((each) => each.trim())
    return rules.every((rule) => parseRule(rule) !== undefined) ? rules : undefined
  },
)

const certificatePem = /-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g

/** Node ignores what is no certificate, and trust would be missing without a word. */
export const certificatesFile: Variable<string> = variable(
  'a PEM file with one certificate or more, which this user can read,',
  (path) => {
    try {
      const certificates = readFileSync(path, 'latin1').match(certificatePem) ?? []
      const subjects = certificates.map((each) => new X509Certificate(each).subject)
      return subjects.length > 0 ? path : undefined
    } catch {
      return undefined
    }
  },
)

export const hostName: Variable<string> = variable(
  'an IP address or a host name, without a port',
  (text) => {
    const bare = /^\[(.*)\]$/.exec(text)?.[1] ?? text
    return isIP(bare) > 0 || /^[A-Za-z0-9_][A-Za-z0-9_.-]{0,252}$/.test(bare) ? bare : undefined
  },
)

/** What one header field can carry (RFC 9110 §5.5), without blanks. */
export const token: Variable<string> = matching(
  'at most 1024 visible ASCII characters without blanks',
  /^[\x21-\x7e]{1,1024}$/,
)

export const signingKeys: Variable<string[]> = variable(
  'one key, or several with "," between them, none empty',
  (text) => {
    const keys = text.split(',').map((each) => each.trim())
    return keys.includes('') ? undefined : keys
  },
)

/** What stands before every key: empty, or ending in "/". */
export const keyPrefix: Variable<string> = variable(
  'parts of letters, digits, ".", "_" and "-" with "/" between them, none of dots alone',
  (text) => {
    const bare = text.replace(/^\/+|\/+$/g, '')
    if (bare === '') return ''
    // Parts of dots alone are folded away by clients, and links with them broken.
    const isGood = bare.split('/').every((part) => /^[\w.-]+$/.test(part) && !/^\.+$/.test(part))
    return isGood ? `${bare}/` : undefined
  },
)
