// A real Ceph object gateway from nothing: one monitor, one OSD in memory and one gateway, with an
// S3 endpoint on the loopback address. Ceph is the store that publishing is tested on.
//
//   node e2e/servers/ceph.js PORT FOLDER     until SIGTERM; uses PORT to PORT+2 and PORT+100 to +200

import { mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { randomUUID } from 'node:crypto'
import { join } from 'node:path'
import { requireTools, run, until } from '../machine.js'
import { Servers, answers, runAsProgram } from './servers.js'

const accessKey = 'test'
const secretKey = 'testsecret'

/**
 * Starts Ceph in `folder`, which is emptied first. Resolves when S3 answers at `endpoint`; `stop` ends
 * every process of it. What is deleted takes room, 12 GiB in all, for `garbageSeconds` and a half more.
 */
export async function startCeph({ port, folder, garbageSeconds = 60 }) {
  requireTools('ceph', 'ceph-authtool', 'ceph-mon', 'ceph-osd', 'monmaptool', 'radosgw')
  rmSync(folder, { recursive: true, force: true })
  for (const name of ['mon', 'osd', 'run', 'log'])
    mkdirSync(join(folder, name), { recursive: true })
  const fsid = randomUUID()
  writeFileSync(join(folder, 'ceph.conf'), configuration({ folder, port, fsid, garbageSeconds }))
  const env = { ...process.env, CEPH_CONF: join(folder, 'ceph.conf') }
  const servers = new Servers(join(folder, 'log'), { env })
  const tool = (program, ...args) => run(program, args, { env, timeoutMs: 120_000 })
  try {
    await makeKeys(folder, tool)
    const [v2, v1] = [port + 1, port + 2].map((each) => `127.0.0.1:${each}`)
    const monmap = join(folder, 'monmap')
    const addresses = ['--addv', 'a', `[v2:${v2},v1:${v1}]`]
    await tool('monmaptool', '--create', '--fsid', fsid, ...addresses, monmap)
    const keyring = ['--keyring', join(folder, 'keyring')]
    await tool('ceph-mon', '--mkfs', '-i', 'a', '--monmap', monmap, ...keyring)
    servers.start('mon', 'ceph-mon', ['-f', '-i', 'a'])
    const osd = randomUUID()
    await tool('ceph', '--connect-timeout', '100', 'osd', 'new', osd)
    await tool('ceph-osd', '--mkfs', '-i', '0', '--osd-uuid', osd)
    servers.start('osd', 'ceph-osd', ['-f', '-i', '0'])
    // It makes the zone and its pools as it goes, and waits for the OSD by itself.
    const keys = [`--access-key=${accessKey}`, `--secret=${secretKey}`]
    await tool('radosgw-admin', 'user', 'create', '--uid=test', '--display-name=test', ...keys)
    const endpoint = `http://127.0.0.1:${port}`
    const gateway = () =>
      servers.start('gateway', 'radosgw', ['-f', '-n', 'client.rgw.a', '--rgw-zone=default'])
    gateway()
    const isUp = () => until('Ceph answers', () => servers.check() && answers(endpoint), 120_000)
    await isUp()
    return {
      endpoint,
      accessKey,
      secretKey,
      region: 'us-east-1',
      stop: () => servers.stop(),
      /** An outage of the gateway alone: the data stay. */
      stopGateway: () => servers.stopOne('gateway'),
      startGateway: async () => {
        gateway()
        await isUp()
      },
    }
  } catch (error) {
    await servers.stop()
    throw error
  }
}

async function makeKeys(folder, tool) {
  const keyring = join(folder, 'keyring')
  const capabilities = {
    'mon.': { mon: 'allow *' },
    'client.admin': { mon: 'allow *', osd: 'allow *', mgr: 'allow *' },
    'osd.0': { mon: 'allow profile osd', osd: 'allow *', mgr: 'allow profile osd' },
    'client.rgw.a': { mon: 'allow rw', osd: 'allow rwx' },
  }
  await tool('ceph-authtool', '--create-keyring', keyring)
  for (const [name, allowed] of Object.entries(capabilities)) {
    const caps = Object.entries(allowed).flatMap(([daemon, what]) => ['--cap', daemon, what])
    await tool('ceph-authtool', keyring, '--gen-key', '-n', name, ...caps)
  }
}

/** One copy of everything, in memory, with no daemon that is not needed to serve S3. */
function configuration({ folder, port, fsid, garbageSeconds }) {
  const settings = {
    fsid,
    'mon host': `[v2:127.0.0.1:${port + 1},v1:127.0.0.1:${port + 2}]`,
    'public addr': '127.0.0.1',
    'cluster addr': '127.0.0.1',
    'ms bind ipv6': false,
    'ms bind port min': port + 100,
    'ms bind port max': port + 200,
    'auth cluster required': 'cephx',
    'auth service required': 'cephx',
    'auth client required': 'cephx',
    'auth allow insecure global id reclaim': false,
    keyring: join(folder, 'keyring'),
    'run dir': join(folder, 'run'),
    'admin socket': join(folder, 'run', '$name.asok'),
    'crash dir': folder,
    'log file': join(folder, 'log', '$name.log'),
    'log to stderr': false,
    'err to stderr': true,
    'debug mon': 0,
    'debug osd': 0,
    'mon data': join(folder, 'mon'),
    // The disk of a test machine may be nearly full; this store is in memory.
    'mon data avail crit': 1,
    'mon allow pool size one': true,
    'mon max pg per osd': 1000,
    'paxos propose interval': 0.02,
    'paxos min wait': 0.01,
    'osd data': join(folder, 'osd'),
    'osd objectstore': 'memstore',
    'memstore device bytes': '12G',
    'osd class load list': '*',
    'osd class default list': '*',
    'osd pool default size': 1,
    'osd pool default min size': 1,
    'osd pool default pg num': 4,
    'osd pool default pg autoscale mode': 'off',
    'osd crush chooseleaf type': 0,
    'rgw frontends': `beast endpoint=127.0.0.1:${port} tcp_nodelay=1`,
    'rgw rados pool pg num min': 4,
    'rgw override bucket index max shards': 1,
    'rgw thread pool size': 32,
    'rgw enable usage log': false,
    // Deleted bytes are freed soon, not after hours.
    'rgw gc obj min wait': garbageSeconds,
    'rgw gc processor period': Math.ceil(garbageSeconds / 2),
  }
  const lines = Object.entries(settings).map(([name, value]) => `${name} = ${value}`)
  return `[global]\n${lines.join('\n')}\n`
}

await runAsProgram(import.meta.url, startCeph)
