// Bytes that are not what was stored: the mark that says so.

import { type Backend, bytesOf, readAll } from './backend.ts'
import { isImageError, orUndefined } from './errors.ts'
import { corruptKey, parseBytesKey } from './layout.ts'
import { parseObject } from './record.ts'

export interface Corruption {
  expected: string
  actual: string
  healedBy?: string
}

export async function readCorruption(
  backend: Backend,
  { name, uuid }: { name: string; uuid: string },
): Promise<Corruption | undefined> {
  const key = corruptKey(name, uuid)
  const bytes = await orUndefined(backend.get(key))
  return bytes && parseCorruption(key, (await readAll(bytes)).toString())
}

/** A mark that can not be read still tells that the bytes are corrupt: it stands in nobody's way. */
function parseCorruption(key: string, text: string): Corruption {
  const told = { expected: 'something else', actual: 'what the mark does not tell' }
  try {
    const { expected, actual, healedBy } = parseObject(key, text) as Partial<Corruption>
    return {
      expected: typeof expected === 'string' ? expected : told.expected,
      actual: typeof actual === 'string' ? actual : told.actual,
      ...(typeof healedBy === 'string' && parseBytesKey(healedBy) && { healedBy }),
    }
  } catch (error) {
    if (!isImageError(error, 'data_loss')) throw error
    return told
  }
}

export async function writeCorruption(
  backend: Backend,
  { name, uuid }: { name: string; uuid: string },
  corruption: Corruption,
): Promise<void> {
  await backend.put(corruptKey(name, uuid), bytesOf(`${JSON.stringify(corruption)}\n`))
}
