// What the kernel says is mounted where: /proc/self/mountinfo (proc_pid_mountinfo(5)), and which of its
// lines are NFS.

import { readFile } from 'node:fs/promises'
import { join } from 'node:path'

/** One line of mountinfo. */
export interface Mount {
  /** The folder of the file system that stands at `point`: not `/` for a bind mount of a part. */
  root: string
  point: string
  type: string
  /** `server:/export` for NFS. */
  source: string
  /** Those of the mount and of its file system together. */
  options: ReadonlyMap<string, string>
}

/** Gives the text of /proc/self/mountinfo; a test has another. */
export type ReadMounts = () => Promise<string>

export const readMounts: ReadMounts = () => readFile('/proc/self/mountinfo', 'utf8')

/** In their order: of two at one point the later one hides the earlier. Odd lines are left out. */
export function parseMounts(text: string): Mount[] {
  return text.split('\n').flatMap((line) => {
    const [head = '', tail = ''] = line.split(' - ')
    const [, , , root, point, mountOptions] = head.split(' ')
    const [type, source, superOptions] = tail.split(' ')
    if (!root || !point || !type || source === undefined) return []
    const options = parseOptions(`${superOptions ?? ''},${mountOptions ?? ''}`)
    return [{ root: plain(root), point: plain(point), type, source: plain(source), options }]
  })
}

/** Space, tab, line feed and backslash are written as octal numbers. */
function plain(text: string): string {
  return text.replaceAll(/\\([0-7]{3})/g, (_, digits: string) =>
    String.fromCodePoint(Number.parseInt(digits, 8)),
  )
}

/** `a=1,b` as a map, in which `b` has an empty value; of two of one name the last counts. */
export function parseOptions(text: string): Map<string, string> {
  const named = text.split(',').filter((each) => each !== '')
  return new Map(
    named.map((each) => {
      const at = each.indexOf('=')
      return at < 0 ? [each, ''] : [each.slice(0, at), each.slice(at + 1)]
    }),
  )
}

/** The mount that a path, absolute and without links, is on. */
export function mountOf(mounts: readonly Mount[], path: string): Mount | undefined {
  return mounts
    .filter(({ point }) => path === point || path.startsWith(point === '/' ? '/' : `${point}/`))
    .reduce<Mount | undefined>(
      (best, each) => (best && best.point.length > each.point.length ? best : each),
      undefined,
    )
}

export function isNfs({ type }: Mount): boolean {
  return type === 'nfs' || type === 'nfs4'
}

/** `server:/export/and/what/stands/at/the/point`. */
export function exportOf({ source, root }: Mount): string {
  const [, server = source, path = '/'] = /^(.+?):(\/.*)$/.exec(source) ?? []
  return `${server}:${join('/', path, root).replace(/(?<=.)\/$/, '')}`
}

/** `4.2`, `3`; empty where the kernel does not say. */
export function versionOf({ options }: Mount): string {
  const version = options.get('vers') ?? options.get('nfsvers') ?? ''
  const minor = options.get('minorversion')
  return version === '4' && minor ? `4.${minor}` : version
}
