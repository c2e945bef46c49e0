// The query of a request: only parameters that the route knows, so that a misspelt `version` never
// means "all of them".

import { assertUuid, assertVersion } from '@backing-image/core'
import type { Call } from './front.ts'
import { invalid } from './problem.ts'

/** The single values of the parameters that are given. Throws for unknown and repeated ones. */
export function readQuery<Name extends string>(
  c: Call,
  ...allowed: Name[]
): { [key in Name]?: string } {
  return onlyOnce(readQueries(c, ...allowed))
}

/** The values of what is given once; throws for what is given more often, or without a value. */
export function onlyOnce<Name extends string>(values: { [key in Name]: string[] }): {
  [key in Name]?: string
} {
  const given = Object.entries<string[]>(values).filter(([, list]) => list.length > 0)
  for (const [name, list] of given) {
    if (list.length > 1) throw invalid(`${name} is given ${list.length} times; once is enough.`)
    if (list[0] === '') throw invalid(`${name} is empty; give it a value, or leave it out.`)
  }
  return Object.fromEntries(given.map(([name, [value]]) => [name, value])) as {
    [key in Name]?: string
  }
}

/** Like `readQuery`, where parameters may be repeated. */
export function readQueries<Name extends string>(
  c: Call,
  ...allowed: Name[]
): { [key in Name]: string[] } {
  const { searchParams } = new URL(c.req.url)
  for (const name of searchParams.keys()) {
    if (!allowed.some((each) => each === name)) {
      const known = allowed.length > 0 ? `it knows ${allowed.join(', ')}` : 'it takes none'
      throw invalid(`${JSON.stringify(name.slice(0, 80))} is no query parameter here: ${known}.`)
    }
  }
  const values = allowed.map((name) => [name, searchParams.getAll(name)])
  return Object.fromEntries(values) as { [key in Name]: string[] }
}

/** A whole number within bounds, both allowed. */
export function readCount(name: string, text: string, least: number, most: number): number {
  const count = /^[0-9]{1,15}$/.test(text) ? Number(text) : -1
  if (count < least || count > most) {
    const given = JSON.stringify(text.slice(0, 80))
    throw invalid(`${name} is ${given}; a whole number from ${least} to ${most} is expected.`)
  }
  return count
}

/** One of the words. */
export function readChoice<T extends string>(name: string, text: string, words: readonly T[]): T {
  const word = words.find((each) => each === text)
  if (word === undefined) {
    const given = JSON.stringify(text.slice(0, 80))
    throw invalid(`${name} is ${given}; one of ${words.join(', ')} is expected.`)
  }
  return word
}

/** The version and uuid that select one of the images of a name. */
export function readSelection(query: { version?: string; uuid?: string }): {
  version?: string
  uuid?: string
} {
  const { version, uuid } = query
  if (version !== undefined) assertVersion(version)
  if (uuid !== undefined) assertUuid(uuid)
  return { ...(version === undefined ? {} : { version }), ...(uuid === undefined ? {} : { uuid }) }
}
