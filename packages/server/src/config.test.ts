import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { readClientConfig } from './client-config.ts'
import { ConfigError, type Environment, readConfig } from './config.ts'
import { firstCertificate, secondCertificate } from '@backing-image/core/testing'

const config = suite('config')
const folder = mkdtempSync(join(tmpdir(), 'config-'))

config.after(() => rmSync(folder, { recursive: true }))

function file(name: string, content: string): string {
  const path = join(folder, name)
  writeFileSync(path, content)
  return path
}

function faultsOf(env: Environment): string[] {
  try {
    readConfig(env)
  } catch (error) {
    assert.instance(error, ConfigError)
    return error instanceof ConfigError ? error.faults : []
  }
  return []
}

const s3 = {
  STORAGE_BACKEND_TYPE: 's3',
  S3_ENDPOINT: 'https://s3.example.org/',
  S3_ACCESS_KEY: 'access',
  S3_SECRET_KEY: 'hidden-secret',
  S3_BUCKET: 'images',
}

config('an empty environment gives the documented defaults', () => {
  assert.equal(readConfig({}), {
    storage: { type: 'local', path: '/var/lib/longhorn/backing-images' },
    host: '0.0.0.0',
    port: 8080,
    publicUrl: undefined,
    trustProxy: false,
    apiToken: undefined,
    apiReadToken: undefined,
    urlSigningKeys: [],
    tls: undefined,
    imageBytesMax: 2 * 1024 ** 4,
    concurrentIngestsMax: 8,
    idleTimeoutMs: 30_000,
    sourceIdleTimeoutMs: 30_000,
    syncSendersMax: 3,
    shutdownGraceMs: 30_000,
    downloads: { allow: [], deny: [] },
    scrub: { bytesPerSecond: 100 * 1024 ** 2 },
    longhorn: undefined,
    logLevel: 'info',
  })
})

config('an empty variable counts as unset', () => {
  const set = ['PORT', 'API_TOKEN', 'API_READ_TOKEN_FILE', 'TLS_CERT_FILE', 'STORAGE_BACKEND_TYPE']
  assert.equal(readConfig(Object.fromEntries(set.map((name) => [name, '']))), readConfig({}))
})

config('values are read in their units', () => {
  const read = readConfig({
    HOST: '[::1]',
    PORT: '0',
    PUBLIC_URL: 'https://images.example.org/base/',
    TRUST_PROXY: 'true',
    API_TOKEN: 'write',
    API_READ_TOKEN: 'read',
    URL_SIGNING_KEY: 'new, old',
    MAX_IMAGE_SIZE: '512MiB',
    IDLE_TIMEOUT: '500ms',
    SOURCE_IDLE_TIMEOUT: '5m',
    SYNC_SENDING_LIMIT: '1000',
    SHUTDOWN_GRACE_PERIOD: '0s',
    LONGHORN_API_URL: 'http://longhorn-backend:9500',
    HTTP_PROXY: 'proxy:3128',
    STORAGE_ID: 'rack-1',
  })
  assert.is(read.host, '::1')
  assert.is(read.port, 0)
  assert.is(read.publicUrl, 'https://images.example.org/base')
  assert.is(read.trustProxy, true)
  assert.equal(read.urlSigningKeys, ['new', 'old'])
  assert.is(read.imageBytesMax, 512 * 1024 * 1024)
  assert.is(read.idleTimeoutMs, 500)
  assert.is(read.sourceIdleTimeoutMs, 300_000)
  assert.is(read.syncSendersMax, 1000)
  assert.is(read.shutdownGraceMs, 0)
  const apiUrl = 'http://longhorn-backend:9500'
  const register = { register: 'all', cluster: 'longhorn-backend' }
  assert.equal(read.longhorn, { apiUrl, authToken: undefined, ...register })
  assert.is(read.httpProxy, 'http://proxy:3128')
  assert.is(read.storage.id, 'rack-1')
})

config('each bad value is one fault that says what was given and what is expected', () => {
  const bad: Record<string, string> = {
    STORAGE_BACKEND_TYPE: 'gcs',
    BACKING_IMAGE_STORAGE_PATH: 'data',
    S3_FORCE_PATH_STYLE: 'yes',
    LOG_LEVEL: 'verbose',
    HOST: 'localhost:80',
    PORT: '65536',
    PUBLIC_URL: 'https://images.example.org/?a=b',
    LONGHORN_API_URL: 'longhorn-backend:9500',
    TRUST_PROXY: '1',
    MAX_IMAGE_SIZE: '2TB',
    MAX_CONCURRENT_INGESTS: '0',
    IDLE_TIMEOUT: '30',
    SOURCE_IDLE_TIMEOUT: '0s',
    SYNC_SENDING_LIMIT: '1001',
    SHUTDOWN_GRACE_PERIOD: '25h',
    EXTRA_CA_FILE: '/nowhere/ca.pem',
  }
  const faults = faultsOf(bad)
  assert.is(faults.length, Object.keys(bad).length)
  for (const [name, given] of Object.entries(bad)) {
    const fault = faults.find((each) => each.startsWith(`${name}: ${JSON.stringify(given)} was`))
    assert.ok(fault, `${name} is missing in:\n${faults.join('\n')}`)
    assert.match(fault, /is expected\.$/)
    assert.not.match(fault, '\n')
  }
  assert.match(faults.join('\n'), 'local, nfs or s3 is expected')
})

config('numbers are plain decimal digits', () => {
  for (const PORT of ['-1', '1e3', '0x50', ' 80', '80.5', 'NaN', '99999999999']) {
    assert.is(faultsOf({ PORT }).length, 1, PORT)
  }
})

config('s3 without its settings is one fault that names all of them', () => {
  assert.equal(faultsOf({ STORAGE_BACKEND_TYPE: 's3', S3_BUCKET: 'images' }), [
    'S3_ENDPOINT, S3_ACCESS_KEY, S3_SECRET_KEY: nothing was given; STORAGE_BACKEND_TYPE=s3 needs a value.',
  ])
})

config('s3 settings are read', () => {
  const secretFile = file('s3', 'from-file\n')
  const { storage } = readConfig({
    ...s3,
    S3_SECRET_KEY: '',
    S3_SECRET_KEY_FILE: secretFile,
    S3_PREFIX: '/images/prod/',
  })
  assert.equal(storage, {
    type: 's3',
    path: '/var/lib/longhorn/backing-images',
    s3: {
      endpoint: 'https://s3.example.org',
      accessKey: 'access',
      secretKey: 'from-file',
      bucket: 'images',
      region: 'us-east-1',
      prefix: 'images/prod/',
      forcePathStyle: true,
      redirectDownloads: false,
      singleWriter: false,
    },
  })
})

config('a prefix of dots is none: clients would fold it away', () => {
  for (const S3_PREFIX of ['..', 'a/../b', './a', 'a//b', 'a b']) {
    assert.is(faultsOf({ ...s3, S3_PREFIX }).length, 1, S3_PREFIX)
  }
  assert.is(faultsOf({ ...s3, S3_PREFIX: '.hidden/v1.2' }).length, 0)
})

config('nfs: server and export come together, and the mount may be there already', () => {
  const nfs = { STORAGE_BACKEND_TYPE: 'nfs', BACKING_IMAGE_STORAGE_PATH: '/mnt/images' }
  assert.equal(readConfig(nfs).storage, { type: 'nfs', path: '/mnt/images' })
  const mounted = { ...nfs, NFS_SERVER: 'nas', NFS_EXPORT: '/export', NFS_MOUNT_OPTIONS: 'hard' }
  assert.equal(readConfig(mounted).storage, {
    type: 'nfs',
    path: '/mnt/images',
    mount: { server: 'nas', exportPath: '/export', options: 'hard' },
  })
  assert.match(faultsOf({ ...nfs, NFS_SERVER: 'nas' }).join('\n'), 'NFS_EXPORT: nothing')
  assert.match(faultsOf({ ...nfs, NFS_MOUNT_OPTIONS: 'hard' }).join('\n'), 'NFS_SERVER, NFS_EXPORT')
})

config('a secret comes from its file without the last newline only', () => {
  const read = (content: string) =>
    readConfig({ URL_SIGNING_KEY_FILE: file('key', content) }).urlSigningKeys
  assert.equal(read('key'), ['key'])
  assert.equal(read('key\n'), ['key'])
  assert.equal(read('key\r\n'), ['key'])
  assert.match(faultsOf({ API_TOKEN_FILE: file('two', 'token\n\n') }).join(), 'API_TOKEN: ')
})

config('every secret may come from a file, and both ways at once are a fault', () => {
  for (const name of [
    'API_TOKEN',
    'API_READ_TOKEN',
    'URL_SIGNING_KEY',
    'S3_ACCESS_KEY',
    'S3_SECRET_KEY',
    'LONGHORN_AUTH_TOKEN',
  ]) {
    const others = name === 'API_READ_TOKEN' ? { API_TOKEN: 'write' } : {}
    const path = file(name, 'from-file\n')
    assert.equal(faultsOf({ ...others, [`${name}_FILE`]: path }), [])
    assert.equal(faultsOf({ ...others, [name]: 'direct', [`${name}_FILE`]: path }), [
      `${name}, ${name}_FILE: both are set; only one of them is expected.`,
    ])
  }
})

config('an unreadable or empty secret file names the variable and the path', () => {
  const [absent = ''] = faultsOf({ API_TOKEN_FILE: join(folder, 'absent') })
  assert.match(absent, 'API_TOKEN_FILE: ')
  assert.match(absent, join(folder, 'absent'))
  assert.match(absent, 'ENOENT')
  const empty = faultsOf({ API_TOKEN_FILE: file('empty', '\n') })
  assert.is(empty.length, 1)
  assert.match(empty[0] ?? '', 'is an empty file')
})

config('no fault shows a secret', () => {
  const faults = faultsOf({
    ...s3,
    API_TOKEN: 'hidden token',
    S3_SECRET_KEY: 'hidden secret',
    S3_ENDPOINT: 'https://user:hidden@s3.example.org',
    PUBLIC_URL: 'http://user:hid/hidden@images.example.org',
    HTTP_PROXY: 'ftp://user:hidden@proxy',
    LONGHORN_AUTH_TOKEN_FILE: file('blank', 'hidden token'),
  })
  assert.is(faults.length, 6)
  assert.not.match(faults.join('\n'), 'hidden')
})

config('tokens: the read token alone, or equal to the other, is a fault', () => {
  assert.match(faultsOf({ API_READ_TOKEN: 'read' }).join('\n'), 'API_TOKEN: nothing was given')
  assert.match(faultsOf({ API_READ_TOKEN: 'a', API_TOKEN: 'a' }).join('\n'), 'another one')
})

config('TLS needs both files, which must be readable', () => {
  const pem = file('cert.pem', firstCertificate.cert)
  const key = file('key.pem', firstCertificate.key)
  assert.equal(readConfig({ TLS_CERT_FILE: pem, TLS_KEY_FILE: key }).tls, {
    certFile: pem,
    keyFile: key,
  })
  assert.match(faultsOf({ TLS_KEY_FILE: pem }).join('\n'), 'TLS_CERT_FILE: nothing was given')
  assert.is(faultsOf({ TLS_KEY_FILE: pem, TLS_CERT_FILE: '/nowhere' }).length, 1)
})

config('TLS files that are no PEM, or no pair, are faults that name their variables', () => {
  const cert = file('first.pem', firstCertificate.cert)
  const key = file('first.key', firstCertificate.key)
  const other = file('second.key', secondCertificate.key)
  const none = file('none.pem', 'x')
  const faults = (certFile: string, keyFile: string) =>
    faultsOf({ TLS_CERT_FILE: certFile, TLS_KEY_FILE: keyFile }).map((each) => each.split(':')[0])
  assert.equal(faults(none, key), ['TLS_CERT_FILE'])
  assert.equal(faults(cert, none), ['TLS_KEY_FILE'])
  assert.equal(faults(none, none), ['TLS_CERT_FILE', 'TLS_KEY_FILE'])
  assert.equal(faults(cert, other), ['TLS_CERT_FILE, TLS_KEY_FILE'])
})

config('EXTRA_CA_FILE must hold certificates', () => {
  const pem = file('ca.pem', `of our office\n${firstCertificate.cert}\n${secondCertificate.cert}`)
  assert.equal(faultsOf({ EXTRA_CA_FILE: pem }), [])
  const broken = firstCertificate.cert.replace(/^(-.*-\n.{20})/, '$1!')
  for (const content of ['', 'x', firstCertificate.key, broken]) {
    const [fault] = faultsOf({ EXTRA_CA_FILE: file('none.pem', content) })
    assert.match(fault ?? '', /EXTRA_CA_FILE: .* a PEM file with one certificate or more/)
  }
})

config('faults of single values and of combinations come together', () => {
  const faults = faultsOf({ PORT: 'x', API_READ_TOKEN: 'read', STORAGE_BACKEND_TYPE: 's3' })
  assert.is(faults.length, 3)
})

config('the client needs an address and a token only', () => {
  assert.equal(readClientConfig({}), {
    url: 'http://localhost:8080',
    token: undefined,
    extraCaFile: undefined,
  })
  assert.is(readClientConfig({ PORT: '9000' }).url, 'http://localhost:9000')
  const env = { BACKING_IMAGE_MANAGER_URL: 'https://images.example.org/', LOG_LEVEL: 'bad' }
  assert.is(readClientConfig(env).url, 'https://images.example.org')
  assert.is(readClientConfig(env, 'host:8080').url, 'http://host:8080')
  const path = file('client', 'token\n')
  assert.is(readClientConfig({ API_TOKEN_FILE: path }).token, 'token')
  assert.throws(() => readClientConfig({}, 'ftp://host'), /--url: "ftp:\/\/host" was given/)
})

config.run()
