// Whether a request asks for what is there already, or on its way: equal in source type, parameters and
// checksum. Of parameters that hold secrets the record keeps only a slow, salted hash to compare with.

import { randomBytes, scrypt, timingSafeEqual } from 'node:crypto'
import { isDeepStrictEqual, promisify } from 'node:util'
import type { Description, Parameters } from '../record.ts'

const derive = promisify<string, Buffer, number, Buffer>(scrypt)
const saltBytes = 16
const hashBytes = 32

/**
 * `salt:hash` of the parameters, where what is shown of them leaves something out; else undefined. Slow
 * on purpose (scrypt, RFC 7914), so that a short secret can not be found by trying.
 */
export async function sourceIdOf(
  parameters: Parameters,
  shown: Parameters,
): Promise<string | undefined> {
  if (isDeepStrictEqual(parameters, shown)) return undefined
  const salt = randomBytes(saltBytes)
  const hash = await derive(textOf(parameters), salt, hashBytes)
  return `${salt.toString('hex')}:${hash.toString('hex')}`
}

/** Whether a description, of a record or claim, is that of the same source with the same secrets. */
export async function isSameSource(
  asked: Description,
  parameters: Parameters,
  existing: Description,
): Promise<boolean> {
  const { asked: askedThen, parameters: shown } = existing
  const isAlso = (each?: Parameters): boolean => isDeepStrictEqual(asked.parameters, each)
  const alike =
    asked.sourceType === existing.sourceType &&
    (isAlso(shown) || isAlso(askedThen)) &&
    isDeepStrictEqual(asked.expected, existing.expected)
  if (!alike || existing.sourceId === undefined) return alike
  const [salt = '', hash = ''] = existing.sourceId.split(':')
  const found = await derive(textOf(parameters), Buffer.from(salt, 'hex'), hashBytes)
  const expected = Buffer.from(hash, 'hex')
  return expected.length === found.length && timingSafeEqual(expected, found)
}

/** The same text for the same parameters, in whatever order they came. */
function textOf(parameters: Parameters): string {
  const keys = Object.keys(parameters).toSorted()
  return JSON.stringify(keys.map((key) => [key, parameters[key]]))
}
