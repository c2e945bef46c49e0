// What another manager says of an image, as far as it is used. It is bytes from outside: each field is
// checked as if a client had sent it.

import { parseChecksum } from '../checksum.ts'
import type { ImageFormat } from '../format.ts'
import { isLabel, labelsMax } from '../labels.ts'
import { assertName, assertVersion } from '../layout.ts'

export interface RemoteImage {
  name: string
  version: string
  /** In bytes. */
  size: number
  /** Hex, of the stored bytes. */
  sha512: string
  /** Of its downloads: the SHA-512 in quotes. */
  etag: string
  format: ImageFormat
  labels: Record<string, string>
}

const formats: readonly ImageFormat[] = ['raw', 'qcow2', 'iso']

/** Undefined for what does not describe an image that is ready. */
export function parseRemoteImage(text: string): RemoteImage | undefined {
  try {
    const found = fieldsOf(JSON.parse(text))
    const { name, version, size, state } = found
    const { sha512 } = fieldsOf(found['checksums'])
    const format = formats.find((each) => each === found['format'])
    const isWhole =
      typeof name === 'string' &&
      typeof version === 'string' &&
      typeof sha512 === 'string' &&
      typeof size === 'number' &&
      Number.isSafeInteger(size) &&
      size >= 0
    if (!isWhole || !format || state !== 'ready') return undefined
    assertName(name)
    assertVersion(version)
    const checksum = parseChecksum(`sha512:${sha512}`).slice('sha512:'.length)
    const labels = labelsOf(found['labels'])
    return { name, version, size, sha512: checksum, etag: `"${checksum}"`, format, labels }
  } catch {
    return undefined
  }
}

function labelsOf(value: unknown): Record<string, string> {
  const labels = Object.entries(fieldsOf(value ?? {}))
  const isGood = labels.every(([key, each]) => typeof each === 'string' && isLabel(key, each))
  if (!isGood || labels.length > labelsMax) throw new TypeError('no labels')
  return Object.fromEntries(labels) as Record<string, string>
}

function fieldsOf(value: unknown): Record<string, unknown> {
  if (typeof value === 'object' && value !== null) return value as Record<string, unknown>
  throw new TypeError('no object')
}
