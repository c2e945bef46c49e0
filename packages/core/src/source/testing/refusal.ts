// How the tests of this room look at what is refused.

import * as assert from 'uvu/assert'
import { type ImageError, isImageError } from '../../errors.ts'
import type { AddressRules } from '../address-rules.ts'

export function refusalOf(work: () => void): ImageError {
  try {
    work()
  } catch (error) {
    assert.ok(isImageError(error, 'invalid_argument'), String(error))
    assert.is(error.reason, 'invalid_request')
    return error
  }
  throw new Error(`Nothing was refused by ${String(work)}`)
}

export function isAllowed(
  rules: AddressRules,
  address: string,
  host: string = 'a.example.org',
): boolean {
  try {
    rules.assertAddress(host, address)
    return true
  } catch (error) {
    assert.ok(isImageError(error, 'invalid_argument'), String(error))
    return false
  }
}
