// What the commands that talk to a server read of the environment.

import { ConfigError } from './config.ts'
import { type Environment, shown, withSecrets } from './secret.ts'
import * as kind from './variable.ts'

/** What the commands that talk to a server need; the rest of the environment may be anything. */
export interface ClientConfig {
  /** The server's base URL, without a slash at its end. */
  url: string
  token: string | undefined
  extraCaFile: string | undefined
}

/**
 * `url` is what the command line names; else BACKING_IMAGE_MANAGER_URL, else http://localhost:PORT.
 * `host:port` is taken as http. Throws a ConfigError.
 */
export function readClientConfig(env: Environment, url?: string): ClientConfig {
  const faults: string[] = []
  const set = withSecrets(
    { API_TOKEN: env['API_TOKEN'], API_TOKEN_FILE: env['API_TOKEN_FILE'] },
    faults,
  )
  const name = url === undefined ? 'BACKING_IMAGE_MANAGER_URL' : '--url'
  const given = url ?? (env['BACKING_IMAGE_MANAGER_URL'] || `localhost:${env['PORT'] || 8080}`)
  const parsed = kind.httpUrl.safeParse(given.includes('://') ? given : `http://${given}`)
  if (!parsed.success) {
    const expected = 'a URL such as http://localhost:8080 is expected'
    faults.push(`${name}: ${shown(name, given)} was given; ${expected}.`)
  }
  if (!parsed.success || faults.length > 0) throw new ConfigError(faults)
  return {
    url: parsed.data,
    token: set['API_TOKEN'],
    extraCaFile: env['EXTRA_CA_FILE'] || undefined,
  }
}
