// What lies in the root of a store: folders of the form of ours, with what is in each, and everything
// else, which is somebody else's and only counted.

import type { Backend, Stat } from '../backend.ts'
import { blocksKey, bytesKey, configKey, parseIngestId } from '../layout.ts'

/** So many things that are not ours are told of one by one. */
export const foreignToldMax = 100

/** One `<name>-<uuid>`; ours only if a record, a job or a mark names it. */
export interface Folder {
  name: string
  uuid: string
  bytes?: Stat
  config?: Stat
  blocks?: Stat
  /** Objects in it that are none of these. */
  others: number
}

export interface Root {
  /** By `<name>-<uuid>`, in byte order. */
  folders: Map<string, Folder>
  /** Of the other names in the root the first hundred, each with the number of its objects. */
  foreign: Map<string, number>
  /** How many objects there are under all other names. */
  foreignObjects: number
}

/** One look at everything but what the catalog, the jobs and the marks have. */
export async function listRoot(
  backend: Backend,
  checked: (objects: number) => void,
): Promise<Root> {
  const root: Root = { folders: new Map(), foreign: new Map(), foreignObjects: 0 }
  for await (const stat of backend.list('')) {
    checked(1)
    if (stat.key.startsWith('.')) continue
    const [first = ''] = stat.key.split('/')
    const ingest = stat.key === first ? undefined : parseIngestId(first)
    if (ingest) addTo(root.folders, first, ingest, stat)
    else addForeign(root, first)
  }
  return root
}

function addTo(
  folders: Map<string, Folder>,
  id: string,
  ingest: { name: string; uuid: string },
  stat: Stat,
): void {
  const folder = folders.get(id) ?? { ...ingest, others: 0 }
  folders.set(id, folder)
  const { name, uuid } = ingest
  if (stat.key === bytesKey(name, uuid)) folder.bytes = stat
  else if (stat.key === configKey(name, uuid)) folder.config = stat
  else if (stat.key === blocksKey(name, uuid)) folder.blocks = stat
  else folder.others += 1
}

function addForeign(root: Root, name: string): void {
  root.foreignObjects += 1
  const count = root.foreign.get(name)
  if (count !== undefined || root.foreign.size < foreignToldMax) {
    root.foreign.set(name, (count ?? 0) + 1)
  }
}
