// What a client may say of an image besides its bytes: the same words as query of a PUT, as fields of
// a form and as keys of a document.

import {
  type Description,
  assertVersion,
  isLabel,
  labelsMax,
  parseChecksum,
  splitChecksum,
} from '@backing-image/core'
import { placementOf } from '@backing-image/longhorn'
import { invalid } from './problem.ts'
import { readChoice, readCount } from './query.ts'

export const singleOptions = [
  'version',
  'checksum',
  'size',
  'dataEngine',
  'minNumberOfCopies',
  'decompress',
] as const

export type SingleOption = (typeof singleOptions)[number]

/** Each single option at most once, and any number of labels. */
export type GivenOptions = { [key in SingleOption]?: string } & { label?: string[] }

export interface UploadOptions {
  version?: string
  /** In bytes. */
  size?: number
  description: Description
  decompress?: 'auto'
}

const copiesMax = 1000

/** Throws `invalid_argument` that names the option. `digests` are those of the headers. */
export function readOptions(given: GivenOptions, digests: readonly string[] = []): UploadOptions {
  const { version, checksum, size, dataEngine, minNumberOfCopies } = given
  const decompress = readChoice('decompress', given.decompress ?? 'never', ['auto', 'never'])
  if (version !== undefined) assertVersion(version)
  return {
    ...(version === undefined ? {} : { version }),
    ...(size === undefined ? {} : { size: readCount('size', size, 0, Number.MAX_SAFE_INTEGER) }),
    ...(decompress === 'auto' && { decompress }),
    description: {
      sourceType: 'upload',
      parameters: {},
      labels: readLabels(given.label ?? []),
      dataEngine: readChoice('dataEngine', dataEngine ?? 'v1', ['v1', 'v2']),
      minNumberOfCopies: readCount('minNumberOfCopies', minNumberOfCopies ?? '0', 0, copiesMax),
      nodeSelector: [],
      diskSelector: [],
      expected: allExpected(checksum === undefined ? [] : [parseChecksum(checksum)], digests),
    },
  }
}

/** Each once; two of one algorithm that differ could never both be met. */
function allExpected(checksums: readonly string[], digests: readonly string[]): string[] {
  const expected = [...new Set([...checksums, ...digests])]
  const algorithms = expected.map((each) => splitChecksum(each).algorithm)
  const twice = algorithms.find((each, index) => algorithms.indexOf(each) !== index)
  if (twice !== undefined) {
    throw invalid(`The request gives two different ${twice} checksums; no bytes have both.`)
  }
  return expected
}

const noPlacement = {
  minNumberOfCopies: 0,
  nodeSelector: [],
  diskSelector: [],
  dataEngine: 'v1' as const,
}

/** `key=value` texts as an object. */
export function readLabels(texts: readonly string[]): Record<string, string> {
  return labelsOf(texts.map(readLabel))
}

/** Labels that are `labelOf` already. */
export function labelsOf(labels: [key: string, value: string][]): Record<string, string> {
  if (labels.length > labelsMax) throw invalid(`At most ${labelsMax} labels are taken.`)
  const keys = labels.map(([key]) => key)
  const twice = keys.find((key, index) => keys.indexOf(key) !== index)
  if (twice !== undefined) throw invalid(`The label ${twice} is given twice.`)
  const all = Object.fromEntries(labels)
  try {
    placementOf({ ...noPlacement, labels: all })
  } catch (error) {
    throw invalid((error as Error).message)
  }
  return all
}

/** A label's key and value. */
export function readLabel(text: string): [key: string, value: string] {
  const end = text.indexOf('=')
  return labelOf(text.slice(0, Math.max(0, end)), text.slice(end + 1), text)
}

/** Throws `invalid_argument` for what can be no label. */
export function labelOf(
  key: string,
  value: string,
  text: string = `${key}=${value}`,
): [key: string, value: string] {
  if (isLabel(key, value)) return [key, value]
  throw invalid(
    `label is ${JSON.stringify(text.slice(0, 80))}; key=value is expected, the key of at most 253 ` +
      'letters, digits, ".", "_", "/" and "-", the value of at most 253 characters.',
  )
}
