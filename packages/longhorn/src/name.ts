// What Longhorn calls an image: its own rules for names, and ours for finding one that it keeps as it is.

import { createHash } from 'node:crypto'

/** Longhorn cuts longer ones, and puts eight characters of a checksum at their end. */
export const longhornNameLengthMax = 40
const headLength = 31
const tailLength = 8
/** Kubernetes' names of objects (RFC 1123), which are stricter than Longhorn's. */
const objectName = /^[a-z0-9](?:[-a-z0-9]*[a-z0-9])?(?:\.[a-z0-9](?:[-a-z0-9]*[a-z0-9])?)*$/

/** Whether Longhorn and Kubernetes take the name, and leave it as it is. */
export function isLonghornName(name: string): boolean {
  return name.length >= 2 && name.length <= longhornNameLengthMax && objectName.test(name)
}

/**
 * The names under which a version may be registered, the best one first: the image's own for its first
 * version, `<name>-<version>` for later ones; where Longhorn would change that, or it is taken, 31
 * characters of it, `-`, and the first 8 hex digits of the SHA-256 of name, NUL and version.
 */
export function longhornNames(name: string, version: string, isFirst: boolean): string[] {
  const plain = (isFirst ? name : `${name}-${version}`).toLowerCase()
  const digest = createHash('sha256').update(`${name}\0${version}`).digest('hex')
  const head = plain.slice(0, headLength).replaceAll(/[^a-z0-9-]/g, '-')
  const safe = `${head}-${digest.slice(0, tailLength)}`
  return isLonghornName(plain) ? [plain, safe] : [safe]
}
