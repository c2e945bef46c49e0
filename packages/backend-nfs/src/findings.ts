// What an operator should know of a mount: how it is mounted, and what of that can lose data or show
// what is old.

import { readFileSync } from 'node:fs'
import { hostname } from 'node:os'
import type { Finding } from '@backing-image/core'
import type { Place } from './failure.ts'
import { type Mount, versionOf } from './mountinfo.ts'

/** So old may be what a client remembers of a file or folder. */
const cachedSecondsMax = 5
/** What a Linux client takes unless told otherwise (nfs(5)). */
const usualSeconds = { acregmax: 60, acdirmax: 60 }

export interface Mounted {
  mount: Mount
  place: Place
  storageId: string
  /** The user that a file which we make belongs to, as the server sees it. */
  fileOwner: bigint
  /** As the kernel gives it. */
  hostName?: string
  /** nfs4_unique_id, or what stands for it; undefined where there is none. */
  clientId?: string | undefined
}

export function findingsOf(mounted: Mounted): Finding[] {
  const { mount, place, storageId } = mounted
  const user = process.geteuid?.() ?? '?'
  return [
    {
      what: 'export',
      level: 'ok',
      text: `${place.export} is mounted at ${place.path}, NFS ${versionOf(mount)}, used by user ${user}.`,
    },
    { what: 'store', level: 'ok', text: `Its id is ${storageId}.` },
    patience(mount),
    freshness(mount),
    caching(mount),
    clientName(mounted),
    owner(mounted),
  ]
}

function patience({ options }: Mount): Finding {
  const soft = ['soft', 'softerr'].find((name) => options.has(name))
  if (soft === undefined) return { what: 'patience', level: 'ok', text: 'It is mounted hard.' }
  return {
    what: 'patience',
    level: 'warn',
    text:
      `It is mounted ${soft}: writes that a slow server does not answer in time are lost, which may ` +
      'damage files silently (nfs(5)). Mount it hard; calls that hang do not stop this server.',
  }
}

function freshness({ options }: Mount): Finding {
  const what = 'close-to-open'
  if (!options.has('nocto')) return { what, level: 'ok', text: 'Files are checked when opened.' }
  return {
    what,
    level: 'warn',
    text:
      'It is mounted nocto: what other servers publish or delete is seen late, and names look free or ' +
      'taken that are not. Mount it without nocto.',
  }
}

function caching({ options }: Mount): Finding {
  const what = 'caching'
  const old = Object.entries(usualSeconds).flatMap(([name, usual]) => {
    const seconds = options.has('noac') ? 0 : Number(options.get(name) ?? usual)
    return seconds > cachedSecondsMax ? [`${name}=${seconds}`] : []
  })
  const lookups = options.get('lookupcache')
  // The kernel shows `pos` for `positive`.
  const isNegativeCached = lookups === undefined || lookups === 'all'
  if (isNegativeCached && !options.has('noac')) old.push('lookupcache=all')
  if (old.length === 0) return { what, level: 'ok', text: 'What is cached is seconds old at most.' }
  return {
    what,
    level: 'warn',
    text:
      `The client may answer from memory for long (${old.join(', ')}). This server looks afresh ` +
      'where it matters; others that use the export may not. Mount it with ' +
      'actimeo=1,lookupcache=positive.',
  }
}

const sharedNames = /^(localhost(\..*)?|localhost[46](\..*)?|\(none\)|)$/i

function clientName(mounted: Mounted): Finding {
  const what = 'client name'
  const name = mounted.hostName ?? hostname()
  const version = versionOf(mounted.mount)
  if (version === '3') return { what, level: 'ok', text: 'NFS 3 knows no clients by name.' }
  const clientId = 'clientId' in mounted ? mounted.clientId : readClientId()
  if (clientId) return { what, level: 'ok', text: `The client's own id is ${clientId}.` }
  if (!sharedNames.test(name)) {
    return {
      what,
      level: 'ok',
      text:
        `The server knows this client by its host name, here ${name}. No other machine that mounts ` +
        'from that server may have the same, unless nfs4_unique_id is set (nfs(5)).',
    }
  }
  return {
    what,
    level: 'warn',
    text:
      `The host name is ${JSON.stringify(name)}, as that of other machines may be: two NFSv4 clients ` +
      'of one name take each other for a restarted one, and lose their open files. Give this machine ' +
      'a name of its own, or set nfs4_unique_id (nfs(5)), before it mounts.',
  }
}

function readClientId(): string | undefined {
  const places = [
    '/sys/fs/nfs/net/nfs_client/identifier',
    '/sys/module/nfs/parameters/nfs4_unique_id',
  ]
  for (const place of places) {
    try {
      const text = readFileSync(place, 'utf8').trim()
      if (text !== '' && text !== '(null)') return text
    } catch {
      // Only some kernels have it.
    }
  }
  return undefined
}

function owner({ fileOwner, place }: Mounted): Finding {
  const what = 'owner'
  const user = process.geteuid?.()
  if (user === undefined || fileOwner === BigInt(user)) {
    return { what, level: 'ok', text: `What it writes belongs to user ${fileOwner}.` }
  }
  return {
    what,
    level: 'warn',
    text:
      `What user ${user} writes belongs to user ${fileOwner} on ${place.export}: the server maps it ` +
      '(root_squash or all_squash). Every server of this store must be mapped to the same user, or ' +
      `one can not delete what another wrote; better run it as user ${fileOwner} itself.`,
  }
}
