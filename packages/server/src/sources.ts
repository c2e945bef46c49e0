// Where this server goes by itself for images: the sources that its configuration gives, and what is told
// of their work in the log and the metrics.

import { readFileSync } from 'node:fs'
import {
  AddressRules,
  DownloadSource,
  Fetcher,
  type Image,
  ImageError,
  type PullObserver,
  type PullOptions,
  type SourceType,
  type Sources,
  SyncSource,
  sourceTypes,
} from '@backing-image/core'
import { ExportSource, ImportSource, type LonghornClient } from '@backing-image/longhorn'
import type { Logger } from 'pino'
import type { Config } from './config.ts'
import type { Metrics } from './metrics.ts'
import { SourceSecrets } from './source-secrets.ts'

/** `longhorn` is where volumes are exported, and images imported, from. */
export function openSources(config: Config, longhorn?: LonghornClient): Sources {
  const { fetcher, rules } = openFetcher(config)
  const secrets = new SourceSecrets(config.sourceSecretsPath)
  const credentialOf = secrets.read.bind(secrets)
  return {
    download: new DownloadSource({ fetcher, rules, credentialOf }),
    sync: new SyncSource({ fetcher, rules, credentialOf }),
    ...(longhorn && {
      longhorn: new ImportSource({ client: longhorn }),
      'export-from-volume': new ExportSource({ client: longhorn, sizeMax: config.imageBytesMax }),
    }),
  }
}

/** What reads URLs, and where it may. */
export function openFetcher(config: Config): { fetcher: Fetcher; rules: AddressRules } {
  const { extraCaFile, httpProxy: http, httpsProxy: https, noProxy: no } = config
  const rules = new AddressRules(config.downloads)
  const fetcher = new Fetcher({
    rules,
    idleTimeoutMs: config.sourceIdleTimeoutMs,
    ...(extraCaFile !== undefined && { extraCa: readFileSync(extraCaFile, 'utf8') }),
    proxies: { ...(http && { http }), ...(https && { https }), ...(no && { no }) },
  })
  return { fetcher, rules }
}

export function sourceTypesOf(sources: Sources): SourceType[] {
  return sourceTypes.filter((each) => sources[each] !== undefined)
}

export function pullOptions(
  config: Config,
  sources: Sources,
  { log, metrics }: { log: Logger; metrics: Metrics },
): PullOptions {
  return {
    sources,
    atOnce: config.concurrentIngestsMax,
    sizeMax: config.imageBytesMax,
    onPull: (image) => observe(image, log, metrics),
  }
}

function observe({ name, version, uuid, sourceType }: Image, log: Logger, metrics: Metrics) {
  const timing = metrics.beginIngest(sourceType)
  const about = { name, version, uuid, sourceType }
  return {
    bytes: (count) => timing.add(count),
    trouble: (error) => log.warn({ ...about, message: error.message }, 'job is tried again'),
    ready: (image) => {
      const seconds = timing.end('ready')
      const { version: published, size, format, currentChecksum: sha512 } = image
      log.info({ ...about, version: published, size, format, sha512, seconds }, 'image stored')
    },
    failed: (error) => {
      const seconds = timing.end('failed')
      const reason = error instanceof ImageError ? error.reason : 'internal'
      const unexpected = error instanceof ImageError ? {} : { err: error }
      log.warn({ ...about, reason, message: error.message, seconds, ...unexpected }, 'job failed')
    },
    left: () => {
      timing.end('left')
      log.info(about, 'the job is left to the next server')
    },
  } satisfies PullObserver
}
