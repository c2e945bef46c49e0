// Backups on an NFS export, which is mounted for as long as a target is in use.

import { spawn } from 'node:child_process'
import { mkdtemp, rmdir } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { ImageError, asError } from '@backing-image/core'
import { FolderTarget } from './folder-target.ts'
import { type Target, lateError } from './target.ts'

/** For all tries to mount together; an order waits no longer than a minute (contract §1.3). */
const mountTimeoutMs = 30_000
const unmountTimeoutMs = 5_000
const versions = ['4.2', '4.1', '4.0'] as const
/** What Longhorn mounts with, but for `retry`: whether to wait for a server is for our deadline. */
const usualOptions = 'actimeo=1,soft,timeo=300,retry=0'

/** `nfs://server:/export`, with options of its own as `?nfsOptions=soft,timeo=150`. */
export async function openNfs(url: URL): Promise<Target> {
  const source = sourceOf(url)
  const path = await mkdtemp(join(tmpdir(), 'backup-target-'))
  try {
    await mount(source, path, triesOf(url))
    try {
      return unmounting(await FolderTarget.open(path), path)
    } catch (error) {
      await unmount(path)
      throw error
    }
  } catch (error) {
    await rmdir(path).catch(() => {})
    throw error
  }
}

function sourceOf(url: URL): string {
  const exportPath = decodeURIComponent(url.pathname)
  const isHost = /^(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?)$/.test(
    url.hostname,
  )
  if (isHost && exportPath.startsWith('/')) return `${url.hostname}:${exportPath}`
  throw new ImageError(
    'invalid_argument',
    'NFS path must follow format: nfs://<server-address>:/<share-name>/',
  )
}

/** The options of each try: one try where the target brings its own. */
function triesOf(url: URL): string[] {
  const own = url.searchParams.getAll('nfsOptions').join(',')
  return own === '' ? versions.map((each) => `nfsvers=${each},${usualOptions}`) : [own]
}

async function mount(source: string, path: string, tries: string[]): Promise<void> {
  const endsAtMs = performance.now() + mountTimeoutMs
  const failures: string[] = []
  for (const options of tries) {
    const argv = ['-t', 'nfs4', '-o', options, source, path]
    const { exitCode, output } = await run('mount', argv, endsAtMs - performance.now())
    if (exitCode === 0) return
    if (exitCode === undefined) throw lateError(`let ${source} be mounted`, mountTimeoutMs)
    failures.push(`${options}: ${output || `mount ended with ${exitCode}`}`)
  }
  throw new ImageError(
    'unavailable',
    `cannot mount nfs ${source}: cannot mount using NFSv4. ${failures.join(' ')} Look at the server, ` +
      'the export and who may mount it (exports(5)).',
  )
}

async function unmount(path: string): Promise<void> {
  const usual = await run('umount', [path], unmountTimeoutMs)
  // At worst from sight only, while the kernel still waits for the server.
  if (usual.exitCode !== 0) await run('umount', ['-l', path], unmountTimeoutMs)
}

function unmounting(target: FolderTarget, path: string): Target {
  return {
    read: (file, bytesMax) => target.read(file, bytesMax),
    write: (file, bytes) => target.write(file, bytes),
    stat: (file) => target.stat(file),
    list: (folder) => target.list(folder),
    remove: (file) => target.remove(file),
    close: async () => {
      await unmount(path)
      await rmdir(path).catch(() => {})
    },
  }
}

/** How a program ended; without a code when it did not in its time. */
interface Ending {
  exitCode: number | undefined
  output: string
}

function run(program: string, argv: string[], timeoutMs: number): Promise<Ending> {
  return new Promise((resolve) => {
    // A group of its own: mount(8) waits for mount.nfs4, which would stay when only that is killed.
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
      resolve({ exitCode, output: output.trim().replaceAll(/\s+/g, ' ') })
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
