// The container as Longhorn runs it: past the entrypoint, as root, with a disk at /data/.

import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import * as assert from 'uvu/assert'
import { DaemonClient } from '../../packages/daemon/dist/index.js'
import { logsOf, podman, start, stateOf } from '../containers.js'
import { freePort, until } from '../machine.js'
import { becomes, makeDisk } from './disks.js'

/** Adds the claim to a suite that has built the image. */
export function longhornStartsIt(test, folder) {
  test('Longhorn starts the daemon and an encrypted clone with its own commands', async () => {
    const disk = makeDisk(folder.path, 'longhorn-disk')
    const options = [
      '--entrypoint=',
      '-v',
      `${disk}:/data/`,
      '-e',
      'POD_IP=127.0.0.1',
      '-e',
      'PORT=9',
    ]
    const begin = async (...command) => {
      const [port, syncPort] = [await freePort(), await freePort()]
      const listen = ['--listen', `:${port}`, '--sync-listen', `:${syncPort}`]
      const program = ['backing-image-manager', '--debug', command[0], ...listen]
      const { name } = await start(options, ...program, ...command.slice(1))
      return { name, address: `127.0.0.1:${port}` }
    }
    const daemon = await begin('daemon')
    const client = new DaemonClient(daemon.address)
    await until('the daemon answers', async () => await client.version().catch(() => false))
    const [plain, secret] = ['0000c001', '0000c002']
    const content = Buffer.alloc(4 * 1024 * 1024, 'content')
    mkdirSync(join(disk, 'backing-images', `plain-${plain}`))
    writeFileSync(join(disk, 'backing-images', `plain-${plain}`, 'backing'), content)
    const clone = { 'backing-image': 'plain', 'backing-image-uuid': plain, encryption: 'encrypt' }
    const parameters = Object.entries(clone).flatMap(([key, value]) => [
      '--parameters',
      `${key}=${value}`,
    ])
    const credential = ['CRYPTO_KEY_VALUE=a,b=c', 'CRYPTO_PBKDF=pbkdf2'].flatMap((each) => [
      '--credential',
      each,
    ])
    const what = ['--name', 'secret', '--uuid', secret, '--source-type', 'clone']
    const source = await begin('data-source', ...what, ...parameters, ...credential)
    const told = async () => await (await fetch(`http://${source.address}/v1/file`)).json()
    const info = await becomes(
      'ready-for-transfer',
      async () => await told().catch(() => ({ state: '' })),
    )
    await client.fetch(
      { name: 'secret', uuid: secret, size: info.size, checksum: '' },
      source.address,
    )
    await becomes('ready', () => client.get({ name: 'secret', uuid: secret }))
    const made = readFileSync(join(disk, 'backing-images', `secret-${secret}`, 'backing'))
    assert.is(made.length, content.length + 16 * 1024 * 1024)
    assert.is(made.toString('latin1', 0, 4), 'LUKS')
    assert.not.ok(made.includes('contentcontent'))
    for (const { name } of [source, daemon]) {
      assert.not.match(await logsOf(name), 'a,b=c')
      await podman('stop', '--time', '30', name)
      assert.is((await stateOf(name)).ExitCode, 0, name)
    }
  })
}
