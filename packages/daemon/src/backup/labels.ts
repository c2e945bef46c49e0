// Labels of a backup as they are ordered: `key=value`, with keys as Kubernetes has them.

import { ImageError } from '@backing-image/core'

const partPattern = /^([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]$/
const prefixPattern = /^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$/
const partBytesMax = 63
const prefixBytesMax = 253

/** Throws `invalid_argument` for what is no label. */
export function parseLabels(labels: readonly string[]): Record<string, string> {
  const found = new Map<string, string>()
  for (const label of labels) {
    const at = label.indexOf('=')
    if (at < 0) throw invalid(`invalid label not in <key>=<value> format ${label}`)
    const [key, value] = [label.slice(0, at), label.slice(at + 1)]
    if (!isQualified(key)) throw invalid(`invalid key ${key} for label: it is no qualified name`)
    if (value === '') throw invalid(`invalid empty value for label with key ${key}`)
    found.set(key, value)
  }
  return Object.fromEntries(found)
}

function isQualified(key: string): boolean {
  const parts = key.split('/')
  const name = parts.pop() ?? ''
  const [prefix] = parts
  const isPrefix =
    prefix === undefined || (prefix.length <= prefixBytesMax && prefixPattern.test(prefix))
  return parts.length <= 1 && isPrefix && name.length <= partBytesMax && partPattern.test(name)
}

function invalid(message: string): ImageError {
  return new ImageError('invalid_argument', message)
}
