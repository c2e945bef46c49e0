// The program as its users have it: child processes of the compiled binary, for tests.

import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { PassThrough, Readable } from 'node:stream'
import { fileURLToPath } from 'node:url'
import { runProgram } from '../cli/program.ts'
import type { Environment } from '../config.ts'

export const binary: string = fileURLToPath(
  new URL('../../bin/backing-image-manager.cjs', import.meta.url),
)

/** Only what a test gives: the environment of whoever runs the tests stays outside. */
function environment(env: Environment): NodeJS.ProcessEnv {
  return { PATH: process.env['PATH'], ...env }
}

export interface Ended {
  /** The exit code, or the name of the signal. */
  code: number | string
  stdout: string
  stderr: string
}

export interface Running {
  child: ChildProcess
  stdout(): string
  ended: Promise<Ended>
}

/** Starts the program. With null as its input, that stays open and silent. */
export function start(
  args: string[],
  env: Environment = {},
  input: string | Buffer | null = '',
): Running {
  const child = spawn(process.execPath, [binary, ...args], {
    env: environment(env),
    stdio: ['pipe', 'pipe', 'pipe', 'ipc'],
  })
  let stdout = ''
  let stderr = ''
  child.stdout?.setEncoding('latin1').on('data', (text: string) => (stdout += text))
  child.stderr?.setEncoding('utf8').on('data', (text: string) => (stderr += text))
  // Who does not read its input breaks the pipe.
  child.stdin?.on('error', () => {})
  if (input !== null) child.stdin?.end(input)
  const ended = once(child, 'close').then(([code, signal]) => ({
    code: typeof code === 'number' ? code : String(signal),
    stdout,
    stderr,
  }))
  return { child, stdout: () => stdout, ended }
}

/**
 * The same in this process, which takes a twentieth of the time: all but main.ts. stdout is given as
 * latin1, a character a byte, as above.
 */
export async function runHere(
  args: string[],
  env: Environment = {},
  input: string | Buffer = '',
): Promise<Ended> {
  const stdout = new PassThrough({ highWaterMark: 64 * 1024 * 1024 })
  const stderr = new PassThrough()
  const code = await runProgram(args, {
    version: '0.0.0',
    gitCommit: '',
    buildDate: '',
    env,
    stdin: Readable.from(input.length > 0 ? [Buffer.from(input)] : []),
    stdout,
    stderr,
    announce: () => {},
    onSignal: () => {},
    abort: () => {},
  })
  return { code, stdout: written(stdout, 'latin1'), stderr: written(stderr, 'utf8') }
}

function written(to: PassThrough, encoding: BufferEncoding): string {
  const chunk: unknown = to.read()
  return chunk instanceof Buffer ? chunk.toString(encoding) : ''
}

/** Runs the program to its end. */
export async function run(
  args: string[],
  env: Environment = {},
  input: string | Buffer = '',
): Promise<Ended> {
  return await start(args, env, input).ended
}

export interface RunningServer extends Running {
  url: string
  /** The storage, a fresh folder. */
  path: string
  /** SIGTERM, and the folder goes. */
  stop(): Promise<Ended>
}

/** A server on a free port of this machine, over a fresh folder unless `env` names one. */
export async function startServer(env: Environment = {}): Promise<RunningServer> {
  const path = env['BACKING_IMAGE_STORAGE_PATH'] ?? (await mkdtemp(join(tmpdir(), 'images-')))
  const running = start(['serve'], {
    HOST: '127.0.0.1',
    PORT: '0',
    BACKING_IMAGE_STORAGE_PATH: path,
    ...env,
  })
  const { child, ended } = running
  const url = await Promise.race([
    once(child, 'message').then(([message]: { url: string }[]) => message?.url ?? ''),
    ended.then((end) => Promise.reject(new Error(`The server ended: ${end.stdout}${end.stderr}`))),
  ])
  return {
    ...running,
    url,
    path,
    stop: async () => {
      child.kill('SIGTERM')
      const end = await ended
      await rm(path, { recursive: true, force: true })
      return end
    },
  }
}
