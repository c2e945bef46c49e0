// A real OpenStack Swift from nothing, with its S3 API on the loopback address: the store that can
// not create exclusively, and says so.
//
//   node e2e/servers/swift.js PORT FOLDER     until SIGTERM; uses PORT to PORT+4

import { mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { requireTools, run, until } from '../machine.js'
import { Servers, answers, runAsProgram } from './servers.js'

const account = 'test'
const user = 'tester'
const secretKey = 'testing'

/**
 * Starts Swift in `folder`, which is emptied first. Resolves when S3 answers at `endpoint`; `stop`
 * ends every process of it.
 */
export async function startSwift({ port, folder }) {
  const parts = { account: port + 2, container: port + 1, object: port + 3 }
  const programs = Object.keys(parts).map((part) => `swift-${part}-server`)
  requireTools('memcached', 'swift-proxy-server', 'swift-ring-builder', ...programs)
  rmSync(folder, { recursive: true, force: true })
  for (const name of ['etc', 'srv/d1', 'log', 'cache']) {
    mkdirSync(join(folder, name), { recursive: true })
  }
  const etc = join(folder, 'etc')
  const write = (name, sections) => writeFileSync(join(etc, name), ini(sections))
  // Another user could not enter a folder that is only ours.
  const common = { bind_ip: '127.0.0.1', user: 'root', swift_dir: etc, workers: 1 }
  const recon = { log_level: 'WARNING', recon_cache_path: join(folder, 'cache') }
  write('swift.conf', {
    'swift-hash': { swift_hash_path_suffix: 'test', swift_hash_path_prefix: 'test' },
    'storage-policy:0': { name: 'gold', default: 'yes' },
  })
  for (const [part, partPort] of Object.entries(parts)) {
    write(`${part}.conf`, {
      DEFAULT: {
        ...common,
        ...recon,
        bind_port: partPort,
        devices: join(folder, 'srv'),
        mount_check: false,
      },
      'pipeline:main': { pipeline: `${part}-server` },
      [`app:${part}-server`]: { use: `egg:swift#${part}` },
    })
    const ring = (...args) => run('swift-ring-builder', [`${part}.builder`, ...args], { cwd: etc })
    await ring('create', '4', '1', '1')
    await ring('add', `r1z1-127.0.0.1:${partPort}/d1`, '100')
    await ring('rebalance')
  }
  write('proxy.conf', proxySections({ ...common, ...recon, bind_port: port }, port + 4))
  const env = { ...process.env, SWIFT_CONF: join(etc, 'swift.conf') }
  const servers = new Servers(join(folder, 'log'), { env, cwd: etc })
  try {
    const memory = ['-l', '127.0.0.1', '-p', String(port + 4), '-m', '64', '-u', 'root']
    servers.start('memcached', 'memcached', memory)
    for (const part of Object.keys(parts)) {
      servers.start(part, `swift-${part}-server`, [join(etc, `${part}.conf`)])
    }
    servers.start('proxy', 'swift-proxy-server', [join(etc, 'proxy.conf')])
    const endpoint = `http://127.0.0.1:${port}`
    const isUp = async () => servers.check() && (await answers(`${endpoint}/healthcheck`))
    await until('Swift answers', isUp, 120_000)
    await until('Swift has its account', () => makeAccount(endpoint), 60_000)
    const accessKey = `${account}:${user}`
    const stop = () => servers.stop()
    return { endpoint, accessKey, secretKey, region: 'us-east-1', stop }
  } catch (error) {
    await servers.stop()
    throw error
  }
}

/** An account begins with its first request, which must not be one of S3. */
async function makeAccount(endpoint) {
  const headers = { 'X-Storage-User': `${account}:${user}`, 'X-Storage-Pass': secretKey }
  const login = await fetch(`${endpoint}/auth/v1.0`, { headers })
  const token = login.headers.get('x-auth-token')
  if (!login.ok || token === null) return false
  const url = `${endpoint}/v1/AUTH_${account}/warm`
  const made = await fetch(url, { method: 'PUT', headers: { 'X-Auth-Token': token } })
  return made.ok
}

function proxySections(common, memoryPort) {
  const filters = {
    catch_errors: {},
    gatekeeper: {},
    healthcheck: {},
    cache: { use: 'egg:swift#memcache', memcache_servers: `127.0.0.1:${memoryPort}` },
    listing_formats: {},
    bulk: {},
    s3api: { location: 'us-east-1' },
    tempauth: { [`user_${account}_${user}`]: `${secretKey} .admin` },
    copy: {},
    slo: {},
    dlo: {},
    versioned_writes: {},
    symlink: {},
  }
  const sections = Object.entries(filters).map(([name, settings]) => [
    `filter:${name}`,
    { use: `egg:swift#${name}`, ...settings },
  ])
  return {
    DEFAULT: common,
    'pipeline:main': { pipeline: [...Object.keys(filters), 'proxy-server'].join(' ') },
    'app:proxy-server': { use: 'egg:swift#proxy', account_autocreate: true },
    ...Object.fromEntries(sections),
  }
}

function ini(sections) {
  const lines = ([name, value]) => `${name} = ${value}`
  return Object.entries(sections)
    .map(([name, settings]) => `[${name}]\n${Object.entries(settings).map(lines).join('\n')}\n`)
    .join('\n')
}

await runAsProgram(import.meta.url, startSwift)
