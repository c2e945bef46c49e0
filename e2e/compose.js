// What compose.yaml asks for. There is no Docker here to read it, so the fields that matter are read
// from it and given to podman.

import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { root } from './machine.js'

export function readCompose() {
  const { parse } = createRequire(join(root, 'packages/server/package.json'))('yaml')
  return parse(readFileSync(join(root, 'compose.yaml'), 'utf8'))
}

/** The restrictions of a service as options of `podman run`. */
export function restrictionsOf(service) {
  return [
    `--read-only=${service.read_only}`,
    // Docker adds no writable folders of its own.
    '--read-only-tmpfs=false',
    ...service.tmpfs.flatMap((path) => ['--tmpfs', path]),
    ...service.cap_drop.map((name) => `--cap-drop=${name}`),
    ...service.cap_add.map((name) => `--cap-add=${name}`),
    ...service.security_opt.map((option) => `--security-opt=${option}`),
  ]
}
