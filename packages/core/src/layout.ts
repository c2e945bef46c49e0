// (name, version, uuid) to keys and back: the only file that knows a path. docs/layout.md specifies
// it for everyone else who reads or writes this store.
//
//   <name>-<uuid>/backing                the bytes: a plain raw or qcow2 file, usable without us
//   <name>-<uuid>/backing.cfg            Longhorn's record of that file
//   <name>-<uuid>/blocks                 the block index: 33 bytes for each 4 MiB
//   .catalog/<name>/<version>.json       the published version record; its presence means "ready"
//   .jobs/<name>-<uuid>/<epoch>.json       a claim on the work; epoch 1 made it, a take-over adds one
//   .jobs/<name>-<uuid>/<epoch>.beat.json  counter and progress, written only by that epoch's owner
//   .jobs/<name>-<uuid>/source.json        where the bytes come from, with its secrets, until it ends
//   .jobs/<name>-<uuid>/cancel.json        a wish to stop
//   .jobs/<name>-<uuid>/end.json           the outcome
//   .jobs/SCRUB/running.json               the one scrub that runs; <id>.json its report
//   .jobs/SCRUB/<id>.cancel.json           a wish that it should stop
//   .marks/<name>-<uuid>/<id>.json       "I may be removing these bytes": forbids new references
//   .marks/<name>-<uuid>/corrupt.json    "these bytes are not what was stored", and what serves instead
//   .longhorn/<cluster>/<name>.json      what a cluster calls one ingest: made once, so that it is unique
//   .longhorn/<cluster>/LEADER.json      the one process that speaks to that cluster
//   .longhorn/<cluster>/STATUS.json      what that process last saw there
//
// A name may hold "-", so `<name>-<uuid>` is read from its end: the last 8 characters are the uuid.

import { randomBytes } from 'node:crypto'
import { ImageError } from './errors.ts'

/** The version of this layout, written into every record; those of version 1 are read, too. */
export const layoutVersion: number = 2

export const catalogPrefix = '.catalog/'
export const jobsPrefix = '.jobs/'
export const marksPrefix = '.marks/'

const namePattern = /^[a-z0-9][a-z0-9_.-]+$/
const versionPattern = /^[A-Za-z0-9][A-Za-z0-9._-]*$/
const uuidPattern = /^[0-9a-f]{8}$/
/** A version that counts: a positive number of at most 15 digits, which a double holds exactly. */
const numericPattern = /^[1-9][0-9]{0,14}$/

/** Throws `invalid_argument` unless `name` is `^[a-z0-9][a-z0-9_.-]+$` of 2 to 64 characters. */
export function assertName(name: string): void {
  if (name.length > 64 || !namePattern.test(name)) {
    throw new ImageError(
      'invalid_argument',
      `${quote(name)} is no image name: 2 to 64 characters, lower-case letters, digits, "-", "_" ` +
        'and ".", beginning with a letter or digit.',
    )
  }
}

/** Throws `invalid_argument` unless `version` is `^[A-Za-z0-9][A-Za-z0-9._-]*$` of at most 64. */
export function assertVersion(version: string): void {
  if (version.length > 64 || !versionPattern.test(version)) {
    throw new ImageError(
      'invalid_argument',
      `${quote(version)} is no version: 1 to 64 letters, digits, ".", "_" and "-", beginning with ` +
        'a letter or digit.',
    )
  }
}

/** Throws `invalid_argument` unless `uuid` is 8 lower-case hex characters, Longhorn's form. */
export function assertUuid(uuid: string): void {
  if (!uuidPattern.test(uuid)) {
    throw new ImageError(
      'invalid_argument',
      `${quote(uuid)} is no uuid: 8 lower-case hex characters are expected.`,
    )
  }
}

function quote(text: string): string {
  return JSON.stringify(text.length > 80 ? `${text.slice(0, 80)}…` : text)
}

export function isNumericVersion(version: string): boolean {
  return numericPattern.test(version)
}

/** A uuid in Longhorn's form, not yet reserved. */
export function drawUuid(): string {
  return randomBytes(4).toString('hex')
}

/** What one arrival of bytes, and whatever belongs to it, goes by. */
export interface Ingest {
  name: string
  uuid: string
}

/** `<name>-<uuid>`: what the folders of one ingest are called. */
export function ingestId(name: string, uuid: string): string {
  return `${name}-${uuid}`
}

/** The name and uuid in `<name>-<uuid>`; undefined when the text is not one of ours. */
export function parseIngestId(id: string): Ingest | undefined {
  const name = id.slice(0, -9)
  const uuid = id.slice(-8)
  if (id.at(-9) !== '-' || !uuidPattern.test(uuid)) return undefined
  if (name.length > 64 || !namePattern.test(name)) return undefined
  return { name, uuid }
}

export function bytesKey(name: string, uuid: string): string {
  return `${ingestId(name, uuid)}/backing`
}

export function configKey(name: string, uuid: string): string {
  return `${ingestId(name, uuid)}/backing.cfg`
}

export function blocksKey(name: string, uuid: string): string {
  return `${ingestId(name, uuid)}/blocks`
}

/** The name and uuid that a bytes key names; undefined when it is no key of bytes. */
export function parseBytesKey(key: string): Ingest | undefined {
  return key.endsWith('/backing') ? parseIngestId(key.slice(0, -'/backing'.length)) : undefined
}

/** Whether nobody else would write under such a key: for what is found unfinished in a shared bucket. */
export function isOwnForm(key: string): boolean {
  const [first = '', second, ...rest] = key.split('/')
  if (first.startsWith('.')) return true
  if (second === undefined || rest.length > 0) return false
  return ['backing', 'backing.cfg', 'blocks'].includes(second) && parseIngestId(first) !== undefined
}

export function bytesPrefix(name: string, uuid: string): string {
  return `${ingestId(name, uuid)}/`
}

export function recordPrefix(name: string): string {
  return `${catalogPrefix}${name}/`
}

export function recordKey(name: string, version: string): string {
  return `${recordPrefix(name)}${version}.json`
}

/** The name and version that a record's key stands for. */
export function parseRecordKey(key: string): { name: string; version: string } | undefined {
  const match = /^\.catalog\/([^/]+)\/([^/]+)\.json$/.exec(key)
  const [, name = '', version = ''] = match ?? []
  if (!namePattern.test(name) || !versionPattern.test(version)) return undefined
  return { name, version }
}

export function jobPrefix(name: string, uuid: string): string {
  return `${jobsPrefix}${ingestId(name, uuid)}/`
}

export function claimKey(name: string, uuid: string, epoch: number): string {
  return `${jobPrefix(name, uuid)}${epoch}.json`
}

export function beatKey(name: string, uuid: string, epoch: number): string {
  return `${jobPrefix(name, uuid)}${epoch}.beat.json`
}

export function sourceKey(name: string, uuid: string): string {
  return `${jobPrefix(name, uuid)}source.json`
}

export function cancelKey(name: string, uuid: string): string {
  return `${jobPrefix(name, uuid)}cancel.json`
}

export function endKey(name: string, uuid: string): string {
  return `${jobPrefix(name, uuid)}end.json`
}

/** What one file of a job is. */
export type JobFile =
  | { name: string; uuid: string; kind: 'claim' | 'beat'; epoch: number }
  | { name: string; uuid: string; kind: 'source' | 'cancel' | 'end' }

export function parseJobKey(key: string): JobFile | undefined {
  const match = /^\.jobs\/([^/]+)\/(?:([1-9][0-9]{0,8})(\.beat)?|(source|cancel|end))\.json$/.exec(
    key,
  )
  const ingest = parseIngestId(match?.[1] ?? '')
  if (!match || !ingest) return undefined
  const word = match[4]
  if (word === 'source' || word === 'cancel' || word === 'end') return { ...ingest, kind: word }
  return { ...ingest, kind: match[3] ? 'beat' : 'claim', epoch: Number(match[2]) }
}

/** Scrubs of the store. No name has a capital letter, so that no job of an image is called so. */
export const scrubPrefix: string = `${jobsPrefix}SCRUB/`
/** Names the scrub that runs; there is at most one in a store. */
export const scrubLockKey: string = `${scrubPrefix}running.json`

const scrubIdPattern = /^[0-9a-f]{16}$/

/** Throws `invalid_argument` unless `id` is one of a scrub: 16 lower-case hex characters. */
export function assertScrubId(id: string): void {
  if (scrubIdPattern.test(id)) return
  throw new ImageError(
    'invalid_argument',
    `${quote(id)} is no id of a scrub: 16 lower-case hex characters are expected.`,
  )
}

export function scrubReportKey(id: string): string {
  return `${scrubPrefix}${id}.json`
}

export function scrubCancelKey(id: string): string {
  return `${scrubPrefix}${id}.cancel.json`
}

/** Which scrub a report, or the wish to cancel it, is of. */
export function parseScrubKey(key: string): { id: string; kind: 'report' | 'cancel' } | undefined {
  const [, id = '', cancel] = /^\.jobs\/SCRUB\/([0-9a-f]{16})(\.cancel)?\.json$/.exec(key) ?? []
  return id === '' ? undefined : { id, kind: cancel === undefined ? 'report' : 'cancel' }
}

export function markPrefix(name: string, uuid: string): string {
  return `${marksPrefix}${ingestId(name, uuid)}/`
}

export function markKey(name: string, uuid: string, id: string): string {
  return `${markPrefix(name, uuid)}${id}.json`
}

/** The name and uuid that a mark of a remover forbids. */
export function parseMarkKey(key: string): Ingest | undefined {
  const [, id = '', mark] = /^\.marks\/([^/]+)\/([^/]+)\.json$/.exec(key) ?? []
  return mark === undefined || mark === 'corrupt' ? undefined : parseIngestId(id)
}

/** The mark of bytes that are not what was stored. No remover's: it forbids nothing. */
export function corruptKey(name: string, uuid: string): string {
  return `${markPrefix(name, uuid)}corrupt.json`
}

/** The name and uuid of the bytes that a mark calls corrupt. */
export function parseCorruptKey(key: string): Ingest | undefined {
  const [, id] = /^\.marks\/([^/]+)\/corrupt\.json$/.exec(key) ?? []
  return id === undefined ? undefined : parseIngestId(id)
}

export const longhornPrefix = '.longhorn/'

const clusterPattern = /^[A-Za-z0-9][\w.-]{0,63}$/

/** Whether a text may name a cluster: 1 to 64 letters, digits, `.`, `_` and `-`, not beginning with a sign. */
export function isCluster(cluster: string): boolean {
  return clusterPattern.test(cluster)
}

export function clusterPrefix(cluster: string): string {
  return `${longhornPrefix}${cluster}/`
}

/** No name in Longhorn has a capital letter, so that no image's is one of the other two. */
export function registrationKey(cluster: string, registeredAs: string): string {
  return `${clusterPrefix(cluster)}${registeredAs}.json`
}

export function leaderKey(cluster: string): string {
  return `${clusterPrefix(cluster)}LEADER.json`
}

export function statusKey(cluster: string): string {
  return `${clusterPrefix(cluster)}STATUS.json`
}

/** What a file of a cluster is; undefined for what is none of ours. */
export function parseClusterKey(
  key: string,
):
  | { cluster: string; kind: 'leader' | 'status' }
  | { cluster: string; kind: 'registration'; registeredAs: string }
  | undefined {
  const [, cluster = '', file = ''] = /^\.longhorn\/([^/]+)\/([^/]+)\.json$/.exec(key) ?? []
  if (!isCluster(cluster)) return undefined
  if (file === 'LEADER' || file === 'STATUS') {
    return { cluster, kind: file === 'LEADER' ? 'leader' : 'status' }
  }
  return namePattern.test(file) ? { cluster, kind: 'registration', registeredAs: file } : undefined
}
