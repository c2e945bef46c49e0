// A User-Mode-Linux guest: a whole kernel as one ordinary process, with the devices that the host may
// not have or not allow. It sees the host's files, boots in seconds and needs no rights.

import { spawn } from 'node:child_process'
import { existsSync, readFileSync, readdirSync, statfsSync, truncateSync } from 'node:fs'
import { writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { root } from '../machine.js'

const kernel = '/usr/bin/linux.uml'
const modulesFolder = '/usr/lib/uml/modules'
const memoryBytes = 1024 ** 3

/**
 * Runs a command line of bash in a guest with a fresh disk, /dev/ubda. Writes its output through, and
 * resolves to its exit code. `folder` is writable in the guest, at the same path. `setup` is what
 * e2e/guest/boot.sh sources before the command.
 */
export async function runInGuest({
  folder,
  command,
  diskBytes,
  timeoutMs,
  setup = 'power-cut.sh',
}) {
  if (!existsSync(kernel))
    throw new Error('Missing here. Run: apt-get install user-mode-linux kmod')
  const [release] = readdirSync(modulesFolder)
  const disk = join(folder, 'disk')
  const consoleFile = join(folder, 'console')
  writeFileSync(disk, '')
  truncateSync(disk, diskBytes)
  writeFileSync(join(folder, 'command'), `${command}\n`)
  const boot = join(root, 'e2e/guest/boot.sh')
  const options = [
    `mem=${memoryBytes} root=none rootfstype=hostfs rootflags=/ ro init=${boot} quiet`,
    `con=null con0=null,fd:3 con1=null,fd:1 ubd0=${disk}`,
    `umid=guest${process.pid} uml_dir=${folder}/`,
    `GUEST_FOLDER=${folder} GUEST_MODULES=${join(modulesFolder, release)} GUEST_SELF=${boot}`,
    `GUEST_SETUP=${join(root, 'e2e/guest', setup)}`,
  ]
  const guest = spawn(
    kernel,
    options.flatMap((line) => line.split(' ')),
    {
      // Its memory is a file there.
      env: { PATH: process.env.PATH, TMPDIR: memoryFolder() },
      stdio: ['ignore', 'pipe', 'inherit', 'pipe'],
      detached: true,
    },
  )
  // All of its processes, which are a group; also when the test runner gives up.
  const end = () => process.kill(-Number(guest.pid), 'SIGKILL')
  process.once('exit', end)
  let log = ''
  guest.stdout.on('data', (text) => process.stdout.write(text))
  guest.stdio[3].on('data', (text) => (log = `${log}${text}`.slice(-16_384)))
  const timer = setTimeout(end, timeoutMs)
  await new Promise((resolve, reject) => {
    guest.on('error', reject)
    guest.on('close', resolve)
  })
  clearTimeout(timer)
  process.off('exit', end)
  const exitFile = join(folder, 'exit')
  if (existsSync(exitFile)) return Number(readFileSync(exitFile, 'utf8'))
  writeFileSync(consoleFile, log)
  throw new Error(
    `The guest ended without a result, or took over ${timeoutMs} ms. It said:\n${log}`,
  )
}

/**
 * Runs a command line of bash in a guest that is an NFS server, and its own client: /mnt/nfs is a real
 * mount of an export of the guest; with `second`, /mnt/nfs2 is a second client's of the same. `version`
 * is 4.2, 4.1, 4.0 or 3; `options` are further ones of both mounts, `exportOptions` of the export. See
 * e2e/guest/nfs.sh for the other exports, and e2e/guest/nfs-server.js for what stops the server.
 */
export async function runNfsGuest({
  folder,
  command,
  version = '4.2',
  options = '',
  exportOptions = '',
  second = false,
  diskBytes = 1024 ** 3,
  timeoutMs,
}) {
  const settings = {
    version,
    mount_options: options,
    export_options: exportOptions,
    second: second ? 'yes' : '',
  }
  const lines = Object.entries(settings).map(([name, value]) => `${name}='${value}'\n`)
  writeFileSync(join(folder, 'nfs'), lines.join(''))
  return await runInGuest({ folder, command, diskBytes, timeoutMs, setup: 'nfs.sh' })
}

/** Memory where there is enough of it. */
function memoryFolder() {
  if (!existsSync('/dev/shm')) return tmpdir()
  const { bavail, bsize } = statfsSync('/dev/shm')
  return bavail * bsize > memoryBytes ? '/dev/shm' : tmpdir()
}
