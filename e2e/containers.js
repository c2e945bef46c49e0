// Images and containers by buildah and podman, in a storage of their own: the machine's other images
// and containers are not seen here, and the base images made here are not seen there.

import { chmodSync, copyFileSync, cpSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import * as assert from 'uvu/assert'
import { debianRoot } from './debian.js'
import { freePort, freshFolder, keptFolder, root, run, until } from './machine.js'

export const imageName = 'localhost/backing-image-manager-e2e'
export const dockerfile = readFileSync(join(root, 'Dockerfile'), 'utf8')

const storage = () => {
  const folders = ['--root', keptFolder('containers'), '--runroot', '/run/backing-image-e2e']
  return [...folders, '--storage-driver', 'overlay']
}
// Health checks on time are systemd's; a test asks for them itself.
const env = {
  CONTAINERS_CONF: join(root, 'e2e/containers.conf'),
  DISABLE_HC_SYSTEMD: 'true',
}
let startedCount = 0

export function podman(...args) {
  return run('podman', [...storage(), ...args], { env, timeoutMs: 120_000 })
}

function buildah(...args) {
  return run('buildah', [...storage(), ...args], { env, timeoutMs: 600_000 })
}

/** Builds the image of the Dockerfile, on base images that need no registry. */
export async function buildImage() {
  // What a run that was cut short has left.
  await cleanUp()
  await makeBaseImages()
  await build(imageName, root)
}

async function build(name, folder) {
  await buildah('bud', '--isolation=chroot', '--format=docker', '--pull-never', '-t', name, folder)
}

async function makeBaseImages() {
  const [node, debian] = [...dockerfile.matchAll(/^FROM (\S+)/gm)].map(([, name]) => name)
  if (!(await isThere(debian))) {
    const archive = join(keptFolder('debian'), 'root.tar')
    await run('tar', ['-C', await debianRoot(), '-cf', archive, '.'])
    await podman('import', '--quiet', archive, debian)
    await run('rm', [archive])
  }
  if (!(await isThere(node))) await makeNodeImage(node, debian)
}

function isThere(name) {
  return podman('image', 'exists', name).then(
    () => true,
    () => false,
  )
}

/** Debian with the Node.js that a package of npm holds, and with npm and the trust of this machine. */
async function makeNodeImage(name, debian) {
  const [, major] = /node:(\d+)-/.exec(name)
  const runtime = `node-linux-${process.arch}`
  const folder = freshFolder()
  try {
    const install = ['install', '--silent', '--prefix', folder.path, `${runtime}@${major}`]
    await run('npm', install, { timeoutMs: 300_000 })
    const context = join(folder.path, 'context')
    mkdirSync(context)
    copyFileSync(join(folder.path, 'node_modules', runtime, 'bin/node'), join(context, 'node'))
    const npm = join((await run('npm', ['root', '-g'])).trim(), 'npm')
    cpSync(npm, join(context, 'npm'), { recursive: true })
    copyFileSync('/etc/ssl/certs/ca-certificates.crt', join(context, 'trusted.crt'))
    const lines = [
      `FROM ${debian}`,
      'COPY --chmod=755 node /usr/local/bin/node',
      'COPY npm /usr/local/lib/node_modules/npm',
      'COPY trusted.crt /etc/ssl/certs/trusted.crt',
      'ENV NODE_EXTRA_CA_CERTS=/etc/ssl/certs/trusted.crt',
      'RUN ln -s ../lib/node_modules/npm/bin/npm-cli.js /usr/local/bin/npm \\',
      ' && ln -s ../lib/node_modules/npm/bin/npx-cli.js /usr/local/bin/npx \\',
      ' && useradd --create-home --uid 1000 node',
      'CMD ["node"]',
    ]
    writeFileSync(join(context, 'Dockerfile'), lines.join('\n'))
    await build(name, context)
  } finally {
    folder.remove()
  }
}

/** Runs a container of the image to its end, and resolves to what it wrote. */
export function runToEnd(options, ...command) {
  return podman('run', '--rm', '--pull=never', ...options, imageName, ...command)
}

/** The entrypoint with a program in the place of ours that only tells how it was started. */
export async function runProgram(options, ...command) {
  const folder = freshFolder()
  try {
    const program = join(folder.path, 'program')
    const script = 'echo "$*"; echo "$(id -u):$(id -g)"; id -G'
    writeFileSync(program, `#!/bin/sh\n${script}\n`, { mode: 0o755 })
    chmodSync(folder.path, 0o755)
    const replaced = ['-v', `${program}:/app/bin/backing-image-manager.cjs:ro`]
    const output = await runToEnd([...replaced, ...options], ...command)
    const [args, user, groups] = output.split('\n')
    return { arguments: args, user, groups }
  } finally {
    folder.remove()
  }
}

export async function inspectImage() {
  return JSON.parse(await podman('image', 'inspect', imageName))
}

/** `podman run -d` with these options; the server in it listens on a free port of this machine. */
export async function start(options, ...command) {
  const port = await freePort()
  startedCount += 1
  const name = `server-${startedCount}`
  const where = options.includes('--network=bridge')
    ? ['-p', `${port}:8080`]
    : ['-e', `PORT=${port}`]
  await podman(
    'run',
    '-d',
    '--pull=never',
    '--name',
    name,
    ...where,
    ...options,
    imageName,
    ...command,
  )
  return { name, url: `http://localhost:${port}` }
}

/** Waits until the server in a container answers. */
export async function answers({ name, url }) {
  await until(`an answer of ${url}`, async () => {
    const response = await fetch(`${url}/health`).catch(() => undefined)
    if (response !== undefined) return response.ok
    const { Running: isRunning } = await stateOf(name)
    if (!isRunning) throw new Error(`The container has ended.\n${await logsOf(name)}`)
    return false
  })
}

export async function stateOf(name) {
  return JSON.parse(await podman('inspect', '--format', '{{json .State}}', name))
}

/** Waits for the end of a container and resolves to its exit code. */
export async function exitCodeOf(name) {
  return Number(await podman('wait', name))
}

/** What it wrote to its standard output and error. */
export async function logsOf(name) {
  return await run('sh', ['-c', 'exec "$@" 2>&1', 'sh', 'podman', ...storage(), 'logs', name], {
    env,
  })
}

/** What a promise that must fail rejects with. */
export async function rejected(promise) {
  const [{ status, reason }] = await Promise.allSettled([promise])
  assert.is(status, 'rejected')
  return reason
}

/** Removes all containers, and the image; the base images stay for the next run. */
export async function cleanUp() {
  await podman('rm', '--force', '--all', '--time', '1')
  if (await isThere(imageName)) await podman('rmi', '--force', imageName)
}
