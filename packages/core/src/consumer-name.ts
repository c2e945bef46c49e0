// What Longhorn and Kubernetes manifests call an image: its own name where they leave that as it is.

import { createHash } from 'node:crypto'

/** Longhorn makes other names of an image's, and those have limits too. */
export const consumerNameMax = 40

const label = '[a-z0-9](?:[-a-z0-9]*[a-z0-9])?'
const subdomain = new RegExp(`^${label}(?:\\.${label})*$`)

/** Whether both take a name, and leave it as it is: an RFC 1123 subdomain of 2 to 40 characters. */
export function isConsumerName(name: string): boolean {
  return name.length >= 2 && name.length <= consumerNameMax && subdomain.test(name)
}

/** The beginning of a text and a part of the SHA-256 of name and version, at most 40 characters. */
export function cutName(text: string, name: string, version: string): string {
  const digest = createHash('sha256').update(`${name}\0${version}`).digest('hex').slice(0, 8)
  const start = text
    .toLowerCase()
    .replaceAll(/[^a-z0-9]+/g, '-')
    .slice(0, 31)
    .replace(/-$/, '')
  return `${start}-${digest}`
}

/** What the first version of a name is called there. */
export function consumerName(name: string, version: string): string {
  return isConsumerName(name) ? name : cutName(name, name, version)
}
