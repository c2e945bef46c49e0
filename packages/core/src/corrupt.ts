// Bytes that are not what was stored: the mark that says so.

import { type Backend, bytesOf, readAll } from './backend.ts'
import { orUndefined } from './errors.ts'
import { corruptKey } from './layout.ts'
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
  return bytes && (parseObject(key, (await readAll(bytes)).toString()) as Corruption)
}

export async function writeCorruption(
  backend: Backend,
  { name, uuid }: { name: string; uuid: string },
  corruption: Corruption,
): Promise<void> {
  await backend.put(corruptKey(name, uuid), bytesOf(`${JSON.stringify(corruption)}\n`))
}
