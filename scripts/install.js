// Brings a clean clone to the point where the server and the tests run: the right Node.js, the
// dependencies of the lockfile, a build. What is there already is left alone. It needs nothing but
// Node.js and npm: the pinned pnpm is fetched by npx.

import { spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

export const root = dirname(dirname(fileURLToPath(import.meta.url)))
const manifest = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'))
const stampPath = join(root, 'node_modules', '.installed')

/** Installs and builds what is missing; ends the process with the whole output when it can not. */
export function prepare() {
  requireNode()
  installDependencies()
  build()
}

/** Runs a command quietly; undefined when it succeeds, else everything that it printed. */
export function run(command, args, env = {}) {
  const result = spawnSync(command, args, {
    cwd: root,
    encoding: 'utf8',
    maxBuffer: 256 * 1024 * 1024,
    env: { ...process.env, TURBO_TELEMETRY_DISABLED: '1', ...env },
  })
  if (result.status === 0) return undefined
  return `${result.stdout ?? ''}${result.stderr ?? ''}${result.error ? `${result.error}\n` : ''}`
}

export function binary(name) {
  return join(root, 'node_modules', '.bin', name)
}

/** The folders of compiled files, one a package. */
export function distFolders() {
  return readdirSync(join(root, 'packages'))
    .map((name) => join(root, 'packages', name, 'dist'))
    .filter((folder) => existsSync(folder))
}

function requireNode() {
  const [, least] = manifest.engines.node.match(/^>=([0-9.]+)$/)
  const [major, minor] = process.versions.node.split('.').map(Number)
  const [leastMajor, leastMinor] = least.split('.').map(Number)
  if (major > leastMajor || (major === leastMajor && minor >= leastMinor)) return
  end(`This is Node.js ${process.versions.node}, and ${least} or later is needed: install that.`)
}

function installDependencies() {
  const stamp = dependenciesStamp()
  if (existsSync(stampPath) && readFileSync(stampPath, 'utf8') === stamp) return
  const { packageManager } = manifest
  say(`Installing dependencies with ${packageManager} ...`)
  // CI: never ask, not even before it replaces a node_modules of another kind. NODE_ENV: the
  // compiler is a development dependency, which "production" would leave out.
  const failure = run('npx', ['-y', packageManager, 'install', '--frozen-lockfile'], {
    CI: 'true',
    NODE_ENV: 'development',
  })
  if (failure !== undefined) {
    end(`${failure}\nThe dependencies could not be installed. Is the npm registry reachable?`)
  }
  writeFileSync(stampPath, stamp)
}

/** Changes when what is installed has to: lockfile, manifests, or another kind of machine. */
function dependenciesStamp() {
  const files = ['package.json', 'pnpm-lock.yaml', 'pnpm-workspace.yaml', '.npmrc']
  for (const name of readdirSync(join(root, 'packages')).toSorted()) {
    files.push(join('packages', name, 'package.json'))
  }
  const hash = createHash('sha256').update(`${process.platform} ${process.arch}`)
  for (const file of files) {
    const path = join(root, file)
    if (existsSync(path)) hash.update(`\0${file}\0`).update(readFileSync(path))
  }
  return `${hash.digest('hex')}\n`
}

function build() {
  if (distFolders().length === 0) say('Building ...')
  dropOrphans()
  // It looks at what has changed by itself.
  const failure = run(binary('tsc'), ['-b'])
  if (failure !== undefined) end(`${failure}\nThe build failed.`)
}

/** The compiler leaves the output of a deleted source behind: such a test would run for ever. */
function dropOrphans() {
  for (const dist of distFolders()) {
    for (const entry of readdirSync(dist, { recursive: true })) {
      const [, stem] = /^(.*)\.(?:js|js\.map|d\.ts|d\.ts\.map)$/.exec(entry) ?? []
      if (stem === undefined) continue
      const source = join(dirname(dist), 'src', `${stem}.ts`)
      if (!existsSync(source)) rmSync(join(dist, entry), { force: true })
    }
  }
}

function say(text) {
  process.stderr.write(`${text}\n`)
}

function end(text) {
  say(text.trim())
  process.exit(1)
}
