// The Longhorn that this server knows, as its configuration has it.

import { readFileSync } from 'node:fs'
import { LonghornClient } from '@backing-image/longhorn'
import type { Config } from './config.ts'

/** Undefined where LONGHORN_API_URL is not set: the integration is off. */
export function openLonghorn({ longhorn, extraCaFile }: Config): LonghornClient | undefined {
  if (!longhorn) return undefined
  const { apiUrl, authToken } = longhorn
  return new LonghornClient({
    url: apiUrl,
    ...(authToken !== undefined && { token: authToken }),
    ...(extraCaFile !== undefined && { extraCa: readFileSync(extraCaFile, 'utf8') }),
  })
}
