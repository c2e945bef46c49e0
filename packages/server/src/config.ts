// The environment as one checked value: the only file that knows the names of its variables. It is
// read once, at the start, and every fault is found together, so that one restart mends them all.

import { scrubRateUsual } from '@backing-image/core'
import { z } from 'zod'
import { type Environment, shown, withSecrets } from './secret.ts'
import { keyPairFaults } from './tls.ts'
import * as kind from './variable.ts'

export type { Environment } from './secret.ts'

export interface S3Config {
  endpoint: string
  accessKey: string
  secretKey: string
  bucket: string
  region: string
  /** Put before every key; empty or ending in "/". */
  prefix: string
  forcePathStyle: boolean
  redirectDownloads: boolean
  /** The operator's promise that no other process writes to this bucket and prefix. */
  singleWriter: boolean
}

export interface NfsMountConfig {
  server: string
  exportPath: string
  options?: string
}

interface StoragePlace {
  /** Root folder (local) or mount point (nfs); absolute. */
  path: string
  /** A name that two addresses of one store share. */
  id?: string
}

export type StorageConfig = StoragePlace &
  (
    | { type: 'local' }
    /** Without `mount` the path is an NFS mount already. */
    | { type: 'nfs'; mount?: NfsMountConfig }
    | { type: 's3'; s3: S3Config }
  )

export interface TlsConfig {
  certFile: string
  keyFile: string
}

export interface LonghornConfig {
  apiUrl: string
  authToken: string | undefined
  /** Which images are made known to it. */
  register: 'all' | 'labelled' | 'off'
  /** Its name among those that share this store. */
  cluster: string
}

export interface Config {
  storage: StorageConfig
  host: string
  /** 0 lets the system choose. */
  port: number
  /** Without a slash at its end. */
  publicUrl: string | undefined
  trustProxy: boolean
  apiToken: string | undefined
  apiReadToken: string | undefined
  /** The first signs, all verify. */
  urlSigningKeys: string[]
  tls: TlsConfig | undefined
  imageBytesMax: number
  concurrentIngestsMax: number
  idleTimeoutMs: number
  sourceIdleTimeoutMs: number
  /** Rules of AddressRules, beside those that are built in. */
  downloads: { allow: string[]; deny: string[] }
  /** The folder of the secrets that requests may name. */
  sourceSecretsPath?: string
  /** How many managers may sync one image from this server at a time. */
  syncSendersMax: number
  shutdownGraceMs: number
  /** How fast bytes are hashed again, and how often that begins by itself. */
  scrub: { bytesPerSecond: number; intervalMs?: number }
  longhorn: LonghornConfig | undefined
  logLevel: 'debug' | 'info' | 'warn' | 'error'
  extraCaFile?: string
  httpProxy?: string
  httpsProxy?: string
  noProxy?: string
}

/** The configuration can not be used. Each fault is one line that names the variable. */
export class ConfigError extends Error {
  override readonly name = 'ConfigError'
  readonly faults: string[]

  constructor(faults: string[]) {
    super(faults.join('\n'))
    this.faults = faults
  }
}

const word = /^[\w.-]{1,64}$/

const variables = z.object({
  STORAGE_BACKEND_TYPE: kind.choice('local', 'nfs', 's3').default('local'),
  BACKING_IMAGE_STORAGE_PATH: kind.absolutePath.default('/var/lib/longhorn/backing-images'),
  STORAGE_ID: kind.matching('1 to 64 letters, digits, ".", "_" and "-"', word).optional(),
  S3_ENDPOINT: kind.httpUrl.optional(),
  S3_ACCESS_KEY: kind.token.optional(),
  S3_SECRET_KEY: kind.token.optional(),
  S3_BUCKET: kind.matching('the name of a bucket', /^[A-Za-z0-9][\w.-]{1,254}$/).optional(),
  S3_REGION: kind.matching('the name of a region', word).default('us-east-1'),
  S3_PREFIX: kind.keyPrefix.default(''),
  S3_FORCE_PATH_STYLE: kind.flag.default(true),
  S3_REDIRECT_DOWNLOADS: kind.flag.default(false),
  S3_SINGLE_WRITER: kind.flag.default(false),
  NFS_SERVER: kind.hostName.optional(),
  NFS_EXPORT: kind.absolutePath.optional(),
  NFS_MOUNT_OPTIONS: kind.matching('options such as nfsvers=4.2,nconnect=4', /^\w\S*$/).optional(),
  LONGHORN_API_URL: kind.httpUrl.optional(),
  LONGHORN_AUTH_TOKEN: kind.token.optional(),
  LONGHORN_REGISTER: kind.choice('all', 'labelled', 'off').default('all'),
  LONGHORN_CLUSTER: kind
    .matching(
      '1 to 64 letters, digits, ".", "_" and "-", beginning with no sign',
      /^[A-Za-z0-9][\w.-]{0,63}$/,
    )
    .optional(),
  LOG_LEVEL: kind.choice('debug', 'info', 'warn', 'error').default('info'),
  HOST: kind.hostName.default('0.0.0.0'),
  PORT: kind.integer(0, 65_535).default(8080),
  PUBLIC_URL: kind.httpUrl.optional(),
  TRUST_PROXY: kind.flag.default(false),
  API_TOKEN: kind.token.optional(),
  API_READ_TOKEN: kind.token.optional(),
  URL_SIGNING_KEY: kind.signingKeys.default([]),
  TLS_CERT_FILE: kind.readableFile.optional(),
  TLS_KEY_FILE: kind.readableFile.optional(),
  MAX_IMAGE_SIZE: kind.size.default(2 * 1024 ** 4),
  MAX_CONCURRENT_INGESTS: kind.integer(1, 1000).default(8),
  IDLE_TIMEOUT: kind.timeLimit.default(30_000),
  SOURCE_IDLE_TIMEOUT: kind.timeLimit.default(30_000),
  DOWNLOAD_ALLOW: kind.addressRules.default([]),
  DOWNLOAD_DENY: kind.addressRules.default([]),
  SOURCE_SECRETS_DIR: kind.readableFolder.optional(),
  SYNC_SENDING_LIMIT: kind.integer(1, 1000).default(3),
  SHUTDOWN_GRACE_PERIOD: kind.duration.default(30_000),
  SCRUB_INTERVAL: kind.interval.optional(),
  SCRUB_RATE: kind.size.default(scrubRateUsual),
  EXTRA_CA_FILE: kind.certificatesFile.optional(),
  HTTP_PROXY: kind.proxyUrl.optional(),
  HTTPS_PROXY: kind.proxyUrl.optional(),
  NO_PROXY: z.string().optional(),
})

type Variables = z.output<typeof variables>

/** All that a server reads. */
export const variableNames: string[] = Object.keys(variables.shape)

/**
 * Reads and checks the whole environment. An empty variable counts as unset. Throws a ConfigError
 * with every fault there is.
 */
export function readConfig(env: Environment): Config {
  const faults: string[] = []
  const set = withSecrets(env, faults)
  const result = variables.safeParse(set)
  for (const issue of result.error?.issues ?? []) {
    const name = String(issue.path[0])
    faults.push(`${name}: ${shown(name, set[name])} was given; ${issue.message} is expected.`)
  }
  faults.push(...combinationFaults((name) => Boolean(env[name] || env[`${name}_FILE`]), set))
  if (!result.success || faults.length > 0) throw new ConfigError(faults)
  return toConfig(result.data)
}

/** What no variable shows on its own. */
function combinationFaults(isSet: (name: string) => boolean, set: Environment): string[] {
  const faults: string[] = []
  const missing = ['S3_ENDPOINT', 'S3_ACCESS_KEY', 'S3_SECRET_KEY', 'S3_BUCKET'].filter(
    (name) => !isSet(name),
  )
  if (set['STORAGE_BACKEND_TYPE'] === 's3' && missing.length > 0) {
    faults.push(`${missing.join(', ')}: nothing was given; STORAGE_BACKEND_TYPE=s3 needs a value.`)
  }
  const together = (first: string, second: string) => {
    if (isSet(first) === isSet(second)) return
    const [there, absent] = isSet(first) ? [first, second] : [second, first]
    faults.push(`${absent}: nothing was given; ${there} is set and needs it.`)
  }
  together('TLS_CERT_FILE', 'TLS_KEY_FILE')
  together('NFS_SERVER', 'NFS_EXPORT')
  if (isSet('NFS_MOUNT_OPTIONS') && !isSet('NFS_SERVER') && !isSet('NFS_EXPORT')) {
    faults.push(
      'NFS_SERVER, NFS_EXPORT: nothing was given; NFS_MOUNT_OPTIONS is set and needs them.',
    )
  }
  if (isSet('API_READ_TOKEN') && !isSet('API_TOKEN')) {
    faults.push('API_TOKEN: nothing was given; API_READ_TOKEN is set and needs it.')
  }
  const { TLS_CERT_FILE: certFile, TLS_KEY_FILE: keyFile } = set
  if (certFile && keyFile) faults.push(...keyPairFaults({ certFile, keyFile }))
  if (set['API_TOKEN'] && set['API_TOKEN'] === set['API_READ_TOKEN']) {
    faults.push('API_READ_TOKEN: the value of API_TOKEN was given; another one is expected.')
  }
  return faults
}

function toConfig(values: Variables): Config {
  return {
    storage: toStorage(values),
    host: values.HOST,
    port: values.PORT,
    publicUrl: values.PUBLIC_URL,
    trustProxy: values.TRUST_PROXY,
    apiToken: values.API_TOKEN,
    apiReadToken: values.API_READ_TOKEN,
    urlSigningKeys: values.URL_SIGNING_KEY,
    tls:
      values.TLS_CERT_FILE && values.TLS_KEY_FILE
        ? { certFile: values.TLS_CERT_FILE, keyFile: values.TLS_KEY_FILE }
        : undefined,
    imageBytesMax: values.MAX_IMAGE_SIZE,
    concurrentIngestsMax: values.MAX_CONCURRENT_INGESTS,
    idleTimeoutMs: values.IDLE_TIMEOUT,
    sourceIdleTimeoutMs: values.SOURCE_IDLE_TIMEOUT,
    downloads: { allow: values.DOWNLOAD_ALLOW, deny: values.DOWNLOAD_DENY },
    ...(values.SOURCE_SECRETS_DIR ? { sourceSecretsPath: values.SOURCE_SECRETS_DIR } : {}),
    syncSendersMax: values.SYNC_SENDING_LIMIT,
    shutdownGraceMs: values.SHUTDOWN_GRACE_PERIOD,
    scrub: {
      bytesPerSecond: values.SCRUB_RATE,
      ...(values.SCRUB_INTERVAL ? { intervalMs: values.SCRUB_INTERVAL } : {}),
    },
    longhorn: values.LONGHORN_API_URL ? toLonghorn(values, values.LONGHORN_API_URL) : undefined,
    logLevel: values.LOG_LEVEL,
    ...(values.EXTRA_CA_FILE ? { extraCaFile: values.EXTRA_CA_FILE } : {}),
    ...(values.HTTP_PROXY ? { httpProxy: values.HTTP_PROXY } : {}),
    ...(values.HTTPS_PROXY ? { httpsProxy: values.HTTPS_PROXY } : {}),
    ...(values.NO_PROXY ? { noProxy: values.NO_PROXY } : {}),
  }
}

function toLonghorn(values: Variables, apiUrl: string): LonghornConfig {
  return {
    apiUrl,
    authToken: values.LONGHORN_AUTH_TOKEN,
    register: values.LONGHORN_REGISTER,
    cluster: values.LONGHORN_CLUSTER ?? clusterOf(apiUrl),
  }
}

/** The host; what is no plain word, such as an IPv6 address in brackets, becomes one. */
function clusterOf(apiUrl: string): string {
  const host = new URL(apiUrl).hostname.replaceAll(/[^\w.-]+/g, '-')
  return host.replaceAll(/^[^a-z0-9]+|-$/g, '').slice(0, 64) || 'longhorn'
}

function toStorage(values: Variables): StorageConfig {
  const place = {
    path: values.BACKING_IMAGE_STORAGE_PATH,
    ...(values.STORAGE_ID ? { id: values.STORAGE_ID } : {}),
  }
  if (values.STORAGE_BACKEND_TYPE === 'local') return { type: 'local', ...place }
  if (values.STORAGE_BACKEND_TYPE === 's3') return { type: 's3', ...place, s3: toS3(values) }
  const { NFS_SERVER: server, NFS_EXPORT: exportPath, NFS_MOUNT_OPTIONS: options } = values
  const given = options === undefined ? {} : { options }
  const mount = server && exportPath ? { mount: { server, exportPath, ...given } } : {}
  return { type: 'nfs', ...place, ...mount }
}

function toS3(values: Variables): S3Config {
  return {
    // combinationFaults has seen to it that these four are there.
    endpoint: values.S3_ENDPOINT ?? '',
    accessKey: values.S3_ACCESS_KEY ?? '',
    secretKey: values.S3_SECRET_KEY ?? '',
    bucket: values.S3_BUCKET ?? '',
    region: values.S3_REGION,
    prefix: values.S3_PREFIX,
    forcePathStyle: values.S3_FORCE_PATH_STYLE,
    redirectDownloads: values.S3_REDIRECT_DOWNLOADS,
    singleWriter: values.S3_SINGLE_WRITER,
  }
}
