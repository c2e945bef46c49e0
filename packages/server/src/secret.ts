// Values that nobody may see: which variables hold them, how they come from files, and how a fault
// shows what was given without giving a secret away.

import { readFileSync } from 'node:fs'

export type Environment = Record<string, string | undefined>

/** Each may come from the file that `<NAME>_FILE` names. */
export const secrets: readonly string[] = [
  'API_TOKEN',
  'API_READ_TOKEN',
  'URL_SIGNING_KEY',
  'S3_ACCESS_KEY',
  'S3_SECRET_KEY',
  'LONGHORN_AUTH_TOKEN',
]

/** Their URLs may hold a password. */
const neverShown: readonly string[] = [...secrets, 'HTTP_PROXY', 'HTTPS_PROXY']

/**
 * The variables that are set, with the secrets that come from files in place. An empty variable is
 * unset; an empty file is a fault, since an empty token would open the server to everyone.
 */
export function withSecrets(env: Environment, faults: string[]): Environment {
  const set = Object.fromEntries(Object.entries(env).filter(([, text]) => text))
  for (const name of secrets) {
    const path = set[`${name}_FILE`]
    if (path === undefined) continue
    if (set[name] !== undefined) {
      faults.push(`${name}, ${name}_FILE: both are set; only one of them is expected.`)
      continue
    }
    try {
      // Editors and `echo` end a file with a newline that nobody means.
      const secret = readFileSync(path, 'utf8').replace(/\r?\n$/, '')
      if (secret !== '') set[name] = secret
      else faults.push(`${name}_FILE: ${shown('', path)} is an empty file; a secret is expected.`)
    } catch (error) {
      const why = error instanceof Error && 'code' in error ? String(error.code) : String(error)
      faults.push(`${name}_FILE: ${shown('', path)} can not be read: ${why}.`)
    }
  }
  return set
}

/** What was given, for a fault: quoted, short, and never a secret. */
export function shown(name: string, text = ''): string {
  if (neverShown.includes(name)) return 'a value that is not shown'
  // A URL that is no good may be so because of the password in it.
  const bare = text.replace(/\/\/.*@/s, '//…@')
  return JSON.stringify(bare.length > 120 ? `${bare.slice(0, 120)}…` : bare)
}
