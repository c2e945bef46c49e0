// What is unfinished of one ingest, once its work has ended or begins anew.

import { type Backend, hasUnfinished } from './backend.ts'
import { bytesKey } from './layout.ts'

/** Throws away what is unfinished of an ingest that nobody is to go on with. Resolves to how many. */
export async function discardUnfinished(
  backend: Backend,
  { name, uuid }: { name: string; uuid: string },
): Promise<number> {
  const key = bytesKey(name, uuid)
  const found = []
  if (hasUnfinished(backend)) {
    for await (const put of backend.unfinished()) if (put.key === key) found.push(put.id)
    for (const id of found) await backend.discard(id)
  }
  return found.length
}
