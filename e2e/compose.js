// What the compose files ask for. There is no Docker here to read them, so the fields that matter are
// read from them and given to podman.

import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { root } from './machine.js'

export function readCompose(name = 'compose.yaml') {
  const { parse } = createRequire(join(root, 'packages/server/package.json'))('yaml')
  return parse(readFileSync(join(root, name), 'utf8'))
}

/** The restrictions of a service as options of `podman run`. */
export function restrictionsOf(service) {
  return [
    `--read-only=${service.read_only}`,
    // Docker adds no writable folders of its own.
    '--read-only-tmpfs=false',
    ...service.tmpfs.flatMap((path) => ['--tmpfs', path]),
    ...service.cap_drop.map((name) => `--cap-drop=${name}`),
    ...(service.user ? [`--user=${service.user}`] : []),
    ...(service.cap_add ?? []).map((name) => `--cap-add=${name}`),
    ...service.security_opt.map((option) => `--security-opt=${option}`),
  ]
}

/**
 * The environment of a service as Docker fills it in from `env`. Throws the message of what is
 * required and missing.
 */
export function environmentOf(service, env) {
  return Object.fromEntries(
    Object.entries(service.environment).map(([name, text]) => [name, filledIn(text, env)]),
  )
}

/** `${NAME:-default}` and `${NAME:?message}`, the two forms that the files use. */
export function filledIn(text, env) {
  return text.replaceAll(/\$\{(\w+):([-?])([^}]*)\}/g, (_, name, kind, rest) => {
    if (env[name]) return env[name]
    if (kind === '?') throw new Error(`${name}: ${rest}`)
    return rest
  })
}
