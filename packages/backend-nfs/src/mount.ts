// Mounting by the system's own helper, mount.nfs, and unmounting: as processes with a deadline, since
// a server that does not answer holds them for minutes.

import { spawn } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { connect, isIPv6 } from 'node:net'
import { ImageError, asError } from '@backing-image/core'
import { parseOptions } from './mountinfo.ts'

/** Where an export is, and how to mount it. */
export interface NfsMount {
  /** A host name, or an address (an IPv6 one without brackets). */
  server: string
  exportPath: string
  /** As for mount(8), such as `nfsvers=4.1,nconnect=4`; they go before ours. */
  options?: string
}

/** The programs that are run; a test has others. */
export interface Programs {
  mount: string
  umount: string
}

export const systemPrograms: Programs = { mount: 'mount', umount: 'umount' }

/** For all tries to mount together, in milliseconds. */
export const mountTimeoutMs = 30_000
const unmountTimeoutMs = 5_000
const connectTimeoutMs = 2_000
const nfsPort = 2049
const versions = ['4.2', '4.1', '4.0', '3'] as const
/** mount(8): it was asked properly, and failed. All else would fail with any version. */
const mountFailed = 32

// `hard`: with `soft` a slow server loses writes. `timeo`: a connection that is cut silently is made
// anew within seconds, by default only after minutes. `actimeo` and `lookupcache`: what other clients
// do is seen within a second. `retry`: whether to wait for a server is for our deadline.
const usualOptions: readonly (readonly [string, string])[] = [
  ['hard', ''],
  ['timeo', '50'],
  ['retrans', '2'],
  ['actimeo', '1'],
  ['lookupcache', 'positive'],
  ['retry', '0'],
]

/** Options that say the same thing, or its opposite: whoever gives one wants none of the others. */
const groups = [
  ['hard', 'soft', 'softerr', 'nosoft'],
  ['actimeo', 'acregmin', 'acregmax', 'acdirmin', 'acdirmax', 'noac', 'ac'],
  ['lookupcache'],
  ['lock', 'nolock', 'local_lock'],
  ['vers', 'nfsvers', 'minorversion', 'v2', 'v3', 'v4', 'v4.0', 'v4.1', 'v4.2'],
]

/** `server:/export`, as mount(8) wants it. Throws `invalid_argument` for what is none. */
export function sourceOf(mount: NfsMount): string {
  const { server, exportPath } = mount
  const host = hostOf(mount)
  if (!isIPv6(host) && !/^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?\.?$/.test(host)) {
    throw new ImageError(
      'invalid_argument',
      `The NFS server ${JSON.stringify(server)} is neither a host name nor an address.`,
    )
  }
  // oxlint-disable-next-line no-control-regex
  if (!/^\/[^\u0000-\u001f\u007f]*$/.test(exportPath) || exportPath.split('/').includes('..')) {
    throw new ImageError(
      'invalid_argument',
      `The NFS export ${JSON.stringify(exportPath)} is no path that begins with "/".`,
    )
  }
  return `${isIPv6(host) ? `[${host}]` : host}:${exportPath}`
}

function hostOf({ server }: NfsMount): string {
  return server.replace(/^\[(.*)\]$/, '$1')
}

/** The options of each try, in their order: one try when the options name a version. */
export function optionsOfTries(given = ''): { version: string; options: string }[] {
  const own = parseOptions(given)
  const names = [...own.keys()]
  const isGiven = (name: string): boolean => {
    const group = groups.find((each) => each.includes(name)) ?? [name]
    return names.some((each) => group.includes(each))
  }
  const usual = usualOptions.filter(([name]) => !isGiven(name))
  const compose = (...extra: (readonly [string, string])[]): string =>
    [...own, ...usual, ...extra]
      .map(([name, value]) => (value === '' ? name : `${name}=${value}`))
      .join(',')
  if (isGiven('vers')) {
    const version = own.get('vers') ?? own.get('nfsvers') ?? names.find((each) => /^v\d/.test(each))
    return [{ version: version ?? 'as given', options: compose() }]
  }
  return versions.map((version) => {
    // Locks need a daemon on both sides, and nothing here locks.
    const nolock: [string, string][] = version === '3' && !isGiven('lock') ? [['nolock', '']] : []
    return { version, options: compose(['vers', version], ...nolock) }
  })
}

/** How a process ended. */
interface Ending {
  /** Undefined when it did not within its time. */
  exitCode: number | undefined
  output: string
}

export interface MountTry {
  mount: NfsMount
  path: string
  programs: Programs
  timeoutMs: number
  onNotice: (text: string) => void
}

/**
 * Mounts, with the newest version of NFS that both sides have. Rejects with `unavailable` when the
 * server does not answer in time, and with `failed_precondition` when it can not be done.
 */
export async function mountExport(tried: MountTry): Promise<void> {
  const { mount, path, programs, timeoutMs, onNotice } = tried
  const source = sourceOf(mount)
  const endsAtMs = performance.now() + timeoutMs
  const failures: string[] = []
  const tries = optionsOfTries(mount.options)
  for (const [index, { version, options }] of tries.entries()) {
    const leftMs = endsAtMs - performance.now()
    const argv = ['-t', 'nfs', '-o', options, source, path]
    const { exitCode, output } = await run(programs.mount, argv, leftMs)
    if (exitCode === 0) return
    if (exitCode === undefined) {
      throw new ImageError(
        'unavailable',
        `${source} could not be mounted at ${path} within ${timeoutMs / 1000} s (NFS ${version}). ` +
          `See whether the server runs and can be reached. ${[...failures, output].join(' ')}`.trim(),
        { reason: 'storage_unavailable' },
      )
    }
    const failure = `NFS ${version}: ${output || `mount ended with ${exitCode}`}`
    failures.push(failure)
    if (exitCode !== mountFailed) break
    const next = tries[index + 1]
    if (next)
      onNotice(`${source} can not be mounted at ${path} with ${failure} Trying ${next.version}.`)
  }
  const port = Number(parseOptions(mount.options ?? '').get('port') ?? nfsPort)
  const isPrivileged = mayMount(readStatus())
  if (isPrivileged && !(await answers(hostOf(mount), port))) {
    throw new ImageError(
      'unavailable',
      `${source} could not be mounted at ${path}: nobody answers at port ${port} of ${mount.server}. ` +
        `See whether the server runs and can be reached. ${failures.join(' ')}`,
      { reason: 'storage_unavailable' },
    )
  }
  throw new ImageError(
    'failed_precondition',
    `User ${process.getuid?.() ?? '?'} could not mount ${source} at ${path}. ${failures.join(' ')} ` +
      whatToDo(isPrivileged),
    { reason: 'storage_unavailable' },
  )
}

/** Whether there is a server at all: mount(8) fails alike without one and with the wrong export. */
function answers(host: string, port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host, port })
    const answer = (does: boolean): void => {
      socket.destroy()
      resolve(does)
    }
    socket.setTimeout(connectTimeoutMs, () => answer(false))
    socket.on('connect', () => answer(true))
    socket.on('error', () => answer(false))
  })
}

function whatToDo(isPrivileged: boolean): string {
  if (!isPrivileged) {
    return (
      'To mount takes root with CAP_SYS_ADMIN, which this process does not have: give it that, or ' +
      'mount the export outside, give its path and leave the server and export out.'
    )
  }
  return (
    'Look at the name of the server and the export, at who may mount it (exports(5)), and whether ' +
    'mount.nfs is there (package nfs-common).'
  )
}

function readStatus(): string {
  try {
    return readFileSync('/proc/self/status', 'utf8')
  } catch {
    return ''
  }
}

/** Whether the process with this /proc/PID/status has CAP_SYS_ADMIN (21); a doubt is true. */
export function mayMount(status: string): boolean {
  const digits = /^CapEff:\s*([0-9a-f]+)$/m.exec(status)?.[1]
  return digits === undefined || ((BigInt(`0x${digits}`) >> 21n) & 1n) === 1n
}

/**
 * Takes a mount away, at worst from sight only, while the kernel still waits for its server. Resolves
 * to what went wrong.
 */
export async function unmount(path: string, programs: Programs): Promise<string | undefined> {
  const usual = await run(programs.umount, [path], unmountTimeoutMs)
  if (usual.exitCode === 0) return undefined
  const lazy = await run(programs.umount, ['-l', path], unmountTimeoutMs)
  if (lazy.exitCode === 0) return undefined
  return `${path} is still mounted: ${lazy.output || usual.output || 'umount does not end.'}`
}

/** Runs a program, and gives it up with all that it has started when the time is over. */
function run(program: string, argv: string[], timeoutMs: number): Promise<Ending> {
  return new Promise((resolve) => {
    // A group of its own: mount(8) waits for mount.nfs, which would stay when only that is killed.
    const child = spawn(program, argv, {
      detached: true,
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { PATH: process.env['PATH'] ?? '/usr/sbin:/usr/bin:/sbin:/bin', LC_ALL: 'C' },
    })
    let output = ''
    const end = (exitCode: number | undefined): void => {
      clearTimeout(timer)
      // Who hangs in the kernel may keep the pipes open.
      for (const stream of [child.stdout, child.stderr]) stream.destroy()
      child.unref()
      const line = output.trim().replaceAll(/\s+/g, ' ')
      resolve({ exitCode, output: line && !/[.!?]$/.test(line) ? `${line}.` : line })
    }
    const timer = setTimeout(
      () => {
        try {
          if (child.pid) process.kill(-child.pid, 'SIGKILL')
        } catch {
          // It has just ended.
        }
        end(undefined)
      },
      Math.max(1, timeoutMs),
    )
    for (const stream of [child.stdout, child.stderr]) {
      stream.on('data', (text) => (output = `${output}${text}`.slice(0, 2_000)))
    }
    child.on('error', (error) => {
      output = asError(error).message
      end(127)
    })
    child.on('close', (code) => end(code ?? 1))
  })
}
