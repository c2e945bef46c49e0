// Bytes that serve in the place of corrupt ones: no record names them, only the mark of those does. They
// go when the corrupt ones do, whose marks and records decide about both.

import type { Backend } from './backend.ts'
import { readCorruption } from './corrupt.ts'
import { blocksKey, bytesKey, configKey, corruptKey, marksPrefix } from './layout.ts'
import { parseBytesKey, parseCorruptKey } from './layout.ts'

/** The keys of all bytes that serve in the place of corrupt ones. */
export async function healedKeys(backend: Backend): Promise<Set<string>> {
  const keys = new Set<string>()
  for await (const { key } of backend.list(marksPrefix)) {
    const ingest = parseCorruptKey(key)
    const corruption = ingest && (await readCorruption(backend, ingest))
    if (corruption?.healedBy !== undefined) keys.add(corruption.healedBy)
  }
  return keys
}

/**
 * Removes what serves in the place of corrupt bytes, and then their mark. For who has removed those as
 * a remover does: no record names them, nor will one.
 */
export async function deleteHealed(
  backend: Backend,
  { name, uuid }: { name: string; uuid: string },
): Promise<void> {
  const corruption = await readCorruption(backend, { name, uuid })
  if (!corruption) return
  const healed = parseBytesKey(corruption.healedBy ?? '')
  if (healed) {
    await backend.delete(configKey(healed.name, healed.uuid))
    await backend.delete(blocksKey(healed.name, healed.uuid))
    await backend.delete(bytesKey(healed.name, healed.uuid))
  }
  await backend.delete(corruptKey(name, uuid))
}
