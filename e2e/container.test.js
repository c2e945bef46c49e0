// The container as operators run it: the Dockerfile is built and the image run by podman, with the
// commands of the guide, under other users, on folders of every kind, and as compose.yaml asks.
//
//   node scripts/test.js e2e/container.test.js      as root; the first run makes the base images

import { lstatSync, readFileSync, readdirSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { readCompose, restrictionsOf } from './compose.js'
import * as containers from './containers.js'
import { longhornStartsIt } from './daemon/in-container.js'
import { failureOf, freshFolder, grubImage, requireTools, root, run } from './machine.js'
import { allFiles, makeFolder, ownersIn } from './storage-folder.js'

const { answers, exitCodeOf, inspectImage, logsOf, podman, rejected } = containers
const { runProgram, runToEnd, start, stateOf } = containers
const storagePath = '/var/lib/longhorn/backing-images'
const imageBytesMax = 260 * 1000 * 1000

const test = suite('the container')
let folderCount = 0

const engine = ['buildah', 'podman', 'runc', '/usr/lib/cni/bridge', 'iptables']
requireTools('cmp', 'curl', 'debootstrap', 'tar', grubImage, ...engine)
await containers.buildImage()
const folder = freshFolder()
const bare = ['--entrypoint=']

test.after(async () => {
  await containers.cleanUp()
  folder.remove()
})

test('the image is small, and has programs for the user of the server', async () => {
  const [{ Size: bytes }] = await inspectImage()
  console.log(`  ${(bytes / 1e6).toFixed(0)} MB`)
  assert.ok(bytes < imageBytesMax, `${bytes} bytes`)
  assert.match(await runToEnd([...bare, '--user=1000'], 'qemu-img', '--version'), /^qemu-img v/)
  assert.match(await runToEnd(bare, 'cryptsetup', 'benchmark', '--pbkdf=argon2i'), /\d memory/)
})

test('nothing is in the image that only builds or tests', async () => {
  const find = ['find', '/', '-xdev', '(', '-path', '/proc', '-o', '-path', '/sys', ')', '-prune']
  const list = (await runToEnd([...bare, '--user=0'], ...find, '-o', '-print')).split('\n')
  const own = list.filter((path) => /^\/app\/|\/@backing-image\/[^/]+\//.test(path))
  assert.ok(own.includes('/app/dist/main.js'))
  const manifest = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'))
  for (const name of Object.keys(manifest.devDependencies)) {
    assert.equal(
      list.filter((path) => path.includes(`/node_modules/${name}/`)),
      [],
      name,
    )
  }
  assert.equal(
    list.filter((path) => /\/bin\/(npm|npx|pnpm|yarn|corepack|tsc|curl)$/.test(path)),
    [],
  )
  const packages = list.filter((path) => /^\/app\/(?!node_modules\/[^@.])/.test(path))
  const ours = packages.filter((path) => !/\/\.pnpm\/(?!@backing-image)/.test(path))
  const unwanted = /\.test\.js$|\.ts$|\.map$|\/testing\/|\/src\//
  assert.is(ours.filter((path) => unwanted.test(path)).join(), '')
})

test('the image says how it is used', async () => {
  const [{ Config: config, Healthcheck: check }] = await inspectImage()
  assert.equal(config.ExposedPorts, { '8080/tcp': {} })
  assert.equal(check.Test, ['CMD', 'backing-image-manager', 'health'])
  assert.is(config.User ?? '', '')
  assert.ok(config.Env.includes('HOST=0.0.0.0'))
})

test('the command of the guide serves from a folder that root has just made', async () => {
  const storage = newFolder()
  const server = await start([...mounted(storage), '-e', 'LOG_LEVEL=info', '--network=bridge'])
  await answers(server)
  await roundTrip(server.url)
  assert.equal(ownersIn(storage), ['1000:1000'])
  const { Pid: pid } = await stateOf(server.name)
  const status = readFileSync(`/proc/${pid}/status`, 'utf8')
  assert.match(status, /^Uid:\t1000\t1000\t1000\t1000$/m)
  assert.match(status, /^Gid:\t1000\t1000\t1000\t1000$/m)
  assert.match(status, /^Groups:\s*$/m)
  assert.match(status, /^CapPrm:\t0+$/m)
  // Its own files under /proc are readable to it: it is not a process that has changed its user.
  assert.is(statSync(`/proc/${pid}/fd`).uid, 1000)
})

test('the health check succeeds while the server is alive, and fails when it is not', async () => {
  const server = await start(mounted(newFolder()))
  await answers(server)
  await podman('healthcheck', 'run', server.name)
  const state = await stateOf(server.name)
  assert.is((state.Health ?? state.Healthcheck).Status, 'healthy')
  await podman('pause', server.name)
  const alone = await failureOf('sh', ['-c', `curl -sS -m 2 ${server.url}/health`])
  assert.is(alone.code, 28)
  await podman('unpause', server.name)
  assert.is((await rejected(runToEnd(['-e', 'PORT=9'], 'health'))).code, 1)
})

test('SIGTERM ends an idle server at once', async () => {
  const server = await start(mounted(newFolder()))
  await answers(server)
  const startedAt = performance.now()
  await podman('stop', '--time', '30', server.name)
  assert.is((await stateOf(server.name)).ExitCode, 0)
  assert.ok(performance.now() - startedAt < 10_000)
})

test('SIGTERM lets an upload finish', async () => {
  const storage = newFolder()
  const server = await start(mounted(storage))
  await answers(server)
  const url = `${server.url}/v1/backing-images/slow`
  const slowly = ['-sS', '--limit-rate', '2M', '--fail-with-body']
  const upload = run('curl', [...slowly, '-T', grubImage, url])
  await delay(700)
  await podman('stop', '--time', '40', server.name)
  assert.is(JSON.parse(await upload).state, 'ready')
  assert.is((await stateOf(server.name)).ExitCode, 0)
  assert.equal(readdirSync(join(storage, '.catalog')), ['slow'])
})

test('SIGTERM ends an upload that is not over after the grace period', async () => {
  const storage = newFolder()
  const server = await start([...mounted(storage), '-e', 'SHUTDOWN_GRACE_PERIOD=2s'])
  await answers(server)
  const url = `${server.url}/v1/backing-images/endless`
  const upload = rejected(run('curl', ['-sS', '--limit-rate', '50k', '-f', '-T', grubImage, url]))
  await delay(700)
  const startedAt = performance.now()
  await podman('stop', '--time', '40', server.name)
  assert.ok(performance.now() - startedAt < 15_000)
  assert.is((await stateOf(server.name)).ExitCode, 0)
  assert.instance(await upload, Error)
  assert.equal(
    allFiles(storage).filter((path) => /\.catalog|backing$|endless~/.test(path)),
    [],
  )
})

test('another user with a folder of its own is left alone', async () => {
  const storage = newFolder(1001)
  const server = await start([...mounted(storage), '--user=1001'])
  await answers(server)
  await roundTrip(server.url)
  assert.equal([...new Set(ownersIn(storage).map((owner) => owner.split(':')[0]))], ['1001'])
})

test('another user whose folder is not writable is told so', async () => {
  const storage = newFolder()
  const server = await start([...mounted(storage), '--user=1001'])
  assert.is(await exitCodeOf(server.name), 78)
  assertRefused(await logsOf(server.name), 1001)
  assert.equal(readdirSync(storage), [])
  assert.is(statSync(storage).uid, 0)
})

test('the files of somebody else stay theirs, and the server says what it may not do', async () => {
  const storage = newFolder(0, 0o755, ['debian-0a1b2c3d/backing'])
  const server = await start(mounted(storage))
  assert.is(await exitCodeOf(server.name), 78)
  assertRefused(await logsOf(server.name), 1000)
  assert.equal(ownersIn(storage), ['0:0'])
  assert.equal(readdirSync(storage), ['debian-0a1b2c3d'])
})

test("a folder is given when it is empty or this store's, and never its tree", async () => {
  const cases = {
    'empty, of root': { owner: 0, holds: [], given: true },
    'empty, of another user': { owner: 1001, holds: [], given: true },
    'a new file system': { owner: 0, holds: ['lost+found/'], given: true },
    'this store, made by root': { owner: 0, holds: ['.catalog/x', '.jobs/'], given: true },
    'this store, in use': { owner: 1000, holds: ['.tmp/', 'debian-0a1b2c3d/backing'], given: true },
    'this store, of another user': { owner: 1001, holds: ['.catalog/x'], given: false },
    'somebody else': { owner: 0, holds: ['debian-0a1b2c3d/backing'], given: false },
    'a file with a name of ours': { owner: 0, holds: ['.catalog'], given: false },
    'a link with a name of ours': { owner: 0, holds: ['.catalog -> /srv'], given: false },
  }
  for (const [what, { owner, holds, given }] of Object.entries(cases)) {
    const storage = newFolder(owner, 0o755, holds)
    await runProgram(mounted(storage))
    assert.is(statSync(storage).uid, given ? 1000 : owner, what)
    for (const path of allFiles(storage)) assert.is(lstatSync(join(storage, path)).uid, 0, what)
  }
})

longhornStartsIt(test, folder)

test('only serve becomes user 1000', async () => {
  const become = [[], ['serve'], ['backing-image-manager', 'serve'], ['backing-image-manager']]
  for (const command of become) {
    assert.equal(await runProgram(['--group-add=1003'], ...command), {
      arguments: command.includes('serve') || command.length === 0 ? 'serve' : '',
      user: '1000:1000',
      groups: '1000',
    })
  }
  const asRoot = { user: '0:0', groups: '0' }
  const daemon = ['daemon', '--listen', 'a b']
  assert.equal(await runProgram([], ...daemon), { arguments: 'daemon --listen a b', ...asRoot })
  assert.equal(await runProgram([], '--debug', 'daemon'), {
    arguments: '--debug daemon',
    ...asRoot,
  })
  const other = { user: '1001:1002', groups: '1002 1003' }
  const asOther = ['--user=1001:1002', '--group-add=1003']
  assert.equal(await runProgram(asOther, 'serve'), { arguments: 'serve', ...other })
})

test('only a server that mounts an export itself stays root', async () => {
  const nfs = ['-e', 'STORAGE_BACKEND_TYPE=nfs']
  const cases = [
    { options: [...nfs, '-e', 'NFS_SERVER=nfs.example.com'], user: '0:0', given: false },
    { options: nfs, user: '1000:1000', given: true },
    { options: ['-e', 'NFS_SERVER=nfs.example.com'], user: '1000:1000', given: true },
    { options: ['-e', 'STORAGE_BACKEND_TYPE=s3'], user: '1000:1000', given: false },
  ]
  for (const { options, user, given } of cases) {
    const [empty, foreign] = [newFolder(), newFolder(0, 0o755, ['debian-0a1b2c3d/backing'])]
    assert.is((await runProgram([...options, ...mounted(empty)])).user, user)
    assert.is(statSync(empty).uid, given ? 1000 : 0, options.join(' '))
    await runProgram([...options, ...mounted(foreign)])
    assert.equal(ownersIn(foreign), ['0:0'])
  }
})

test('the image holds a whole mount helper for NFS, and gives nobody root by it', async () => {
  const script =
    'mount.nfs4 -V; find / -xdev -name "*mount.nfs*" -perm /6000; mount -t nfs a:/ /mnt'
  const failure = await rejected(runToEnd(['--entrypoint='], 'sh', '-c', script))
  assert.match(failure.stdout, /^mount\.nfs4: \(linux nfs-utils \S+\)\n$/)
  assert.match(failure.stderr, /mount\.nfs: /)
})

test('the server works under the restrictions of compose.yaml', async () => {
  const service = readCompose().services['backing-image-manager']
  assert.is(service.read_only, true)
  assert.equal(service.cap_drop, ['ALL'])
  // Closed to a root without DAC_OVERRIDE.
  const storage = newFolder(1001, 0o700)
  for (const name of ['first', 'second']) {
    const server = await start([...mounted(storage), ...restrictionsOf(service)])
    await answers(server)
    await roundTrip(server.url, name)
    assert.equal(ownersIn(storage), ['1000:1000'])
    await podman('healthcheck', 'run', server.name)
    await podman('stop', '--time', '30', server.name)
    assert.is((await stateOf(server.name)).ExitCode, 0)
  }
})

test('the containers of compose.s3.yaml and compose.nfs.yaml have no right at all', async () => {
  for (const name of ['compose.s3.yaml', 'compose.nfs.yaml']) {
    const service = readCompose(name).services['backing-image-manager']
    const status = ['--entrypoint=', ...restrictionsOf(service)]
    const text = await runToEnd(status, 'cat', '/proc/self/status')
    assert.match(text, /^CapBnd:\t0+$/m)
    assert.match(text, /^NoNewPrivs:\t1$/m)
    assert.match(text, /^Uid:\t1000\t1000\t1000\t1000$/m)
    assert.match(await runToEnd(restrictionsOf(service), 'version'), /\d+\.\d+/)
  }
})

/** A folder as Docker makes a missing one for `-v`: of root, mode 755. */
function newFolder(owner = 0, mode = 0o755, entries = []) {
  folderCount += 1
  return makeFolder(join(folder.path, `storage-${folderCount}`), owner, mode, entries)
}

function mounted(storage) {
  return ['-v', `${storage}:${storagePath}`]
}

async function roundTrip(url, name = 'grub') {
  const imageUrl = `${url}/v1/backing-images/${name}`
  await run('curl', ['-sS', '--fail-with-body', '-T', grubImage, imageUrl])
  const target = join(folder.path, 'downloaded')
  await run('curl', ['-sS', '--fail-with-body', '-o', target, `${imageUrl}/download`])
  await run('cmp', [grubImage, target])
}

/** One clear line: who, where, and what the folder allows. */
function assertRefused(log, user) {
  const [line, ...more] = log.trim().split('\n')
  assert.equal(more, [])
  assert.match(line, /^backing-image-manager: BACKING_IMAGE_STORAGE_PATH: /)
  assert.ok(line.includes(`"${storagePath}"`), line)
  assert.ok(line.includes(`User ${user} `), line)
  assert.ok(line.includes('mode 755'), line)
}

test.run()
