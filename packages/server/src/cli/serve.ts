// `serve`: the HTTP server, from its configuration to its end.

import { setTimeout as delay } from 'node:timers/promises'
import { hasHungCalls } from '@backing-image/backend-local'
import { type Backend, ImageStore, hasProbe, isImageError } from '@backing-image/core'
import type { RunningDaemon } from '@backing-image/daemon'
import type { Command } from 'commander'
import type { Logger } from 'pino'
import { openBackend, placeOf } from '../backends.ts'
import { type Config, ConfigError, readConfig } from '../config.ts'
import { createLog } from '../log.ts'
import { obstaclesOf, openLonghorn, startLonghorn } from '../longhorn.ts'
import { Metrics } from '../metrics.ts'
import { Health, type HealthReport } from '../ready.ts'
import { scrubOptions } from '../scrub.ts'
import { SeldomByText } from '../seldom.ts'
import { openSources, pullOptions, sourceTypesOf } from '../sources.ts'
import { type RunningServer, startServer } from '../server.ts'
import { absolutePath, withListenOptions } from './disk-options.ts'
import { type DiskServing, prepareDisk, startDisk, withDisk } from './serve-disk.ts'
import { isDebug } from './server-options.ts'
import { firstSignal } from './signal.ts'
import { CommandError, type Terminal, UsageError } from './terminal.ts'

export function addServe(program: Command, terminal: Terminal): void {
  const serving = program
    .command('serve', { isDefault: true })
    .description('run the HTTP server (the default)')
    .option('--debug', 'log everything, as LOG_LEVEL=debug does')
    .option('--longhorn-disk <path>', 'share a disk with Longhorn, as its daemon too', absolutePath)
  withListenOptions(serving, 'gRPC of --longhorn-disk')
    .addHelpText('after', serveHelp)
    // Whatever is no command comes here, since this is the default.
    .allowExcessArguments()
    .action(async (options: DiskServing, command: Command) => {
      const [unknown] = command.args
      if (unknown !== undefined)
        throw new UsageError(`There is no command "${unknown}". See --help.`)
      await serve(terminal, options, isDebug(command))
    })
}

const serveHelp = `
It is configured by the environment. The most used variables:
  BACKING_IMAGE_STORAGE_PATH  where the images are (/var/lib/longhorn/backing-images)
  HOST, PORT                  where it listens (0.0.0.0, 8080)
  API_TOKEN, API_READ_TOKEN   who may write, who may read; each also as NAME_FILE
  TLS_CERT_FILE, TLS_KEY_FILE serve HTTPS
  LOG_LEVEL                   debug, info, warn or error

With --longhorn-disk the images are in its folder backing-images, and a longhorn-manager finds its daemon at
--listen and --sync-listen; what Longhorn has there is listed by GET /v1/longhorn/disk-images.

SIGTERM and SIGINT let what runs finish for SHUTDOWN_GRACE_PERIOD; a second one ends it at once.

Example:
  $ HOST=127.0.0.1 BACKING_IMAGE_STORAGE_PATH=/srv/images backing-image-manager serve`

async function serve(terminal: Terminal, options: DiskServing, debug: boolean): Promise<void> {
  const stopAsked = firstSignal(terminal)
  const config = readConfig(withDisk(terminal.env, options))
  const log = createLog(debug ? 'debug' : config.logLevel)
  await prepareDisk(options)
  const backend = await openBackend(config, (text) => log.warn(text))
  try {
    const metrics = new Metrics()
    const client = openLonghorn(config)
    const sources = openSources(config, client)
    const onProblem = tellProblems(log)
    const store = await ImageStore.open(backend, {
      onProblem,
      pulls: pullOptions(config, sources, { log, metrics }),
      scrub: scrubOptions(config, log),
    })
    let stopLonghorn = async (): Promise<void> => {}
    let disk: RunningDaemon | undefined
    try {
      const health = new Health({ store, backend, onChange: (now) => tellHealth(log, now) })
      await health.start()
      const { version } = terminal
      const sourceTypes = sourceTypesOf(sources)
      const longhorn = await startLonghorn(config, client, { store, log, onProblem })
      stopLonghorn = async () => await longhorn.stop()
      disk = await startDisk(options, config, { terminal, log })
      const deps = { store, config, log, metrics, health, longhorn, disk, version, sourceTypes }
      const server = await startServer(deps).catch((error: unknown) => {
        throw explained(error, config)
      })
      report(log, config, server)
      tellFindings(log, backend)
      terminal.announce(server.url)
      await stopAsked
      log.info({ graceMs: config.shutdownGraceMs }, 'stopping')
      // Jobs stop at once, for whoever comes next goes on with them; what they have must become durable.
      const stopped = unlessHung(store.stopPulls(), config.shutdownGraceMs)
      await server.close(config.shutdownGraceMs)
      await stopped
    } finally {
      await unlessHung(stopLonghorn())
      if (disk) await unlessHung(disk.close())
      client?.close()
      await unlessHung(store.close())
    }
  } finally {
    await unlessHung(backend.close())
  }
  if (hasHungCalls()) log.error('the storage hangs: this process kills itself, or it would not end')
  else log.info('stopped')
}

/** How long closing may wait for the storage. */
const closeTimeMs = 3000

/** Gives up waiting for what hangs: nothing of it is needed, and the next process tidies. */
async function unlessHung(work: Promise<void>, timeMs: number = closeTimeMs): Promise<void> {
  await Promise.race([work, delay(timeMs, undefined, { ref: false })])
}

/**
 * Storage that is away fails every beat and every look, and a broken record every look: once in a while
 * is enough.
 */
function tellProblems(log: Logger): (error: Error) => void {
  const seldom = new SeldomByText()
  return (err) => {
    const isOutage = isImageError(err) && err.reason === 'storage_unavailable'
    const kept = seldom.next(isOutage ? err.reason : err.message)
    if (kept === undefined) return
    log.warn({ err, ...(kept > 0 && { more: kept }) }, 'the store has a problem')
  }
}

/** One line for each change, however many requests meet it. */
function tellHealth(log: Logger, { status, message, backend }: HealthReport): void {
  if (status === 'ok') log.info({ backend }, 'the storage works')
  else log.error({ backend, message }, 'the storage does not work')
}

function report(log: Logger, config: Config, server: RunningServer): void {
  const { storage, longhorn } = config
  log.info({ address: server.url, backend: storage.type, place: placeOf(storage) }, 'serving')
  if (config.apiToken === undefined && !isLoopback(config.host)) {
    log.warn('API_TOKEN is not set: everyone who reaches this address may read, write and delete')
  }
  if (longhorn) {
    const { apiUrl, cluster, register } = longhorn
    log.info({ apiUrl, cluster, register }, 'images are made known to Longhorn')
    const obstacles = register === 'off' ? [] : obstaclesOf(config)
    if (obstacles.length > 0) log.warn({ cluster }, `nothing is registered: ${obstacles.join(' ')}`)
  } else log.info('LONGHORN_API_URL is not set: the integration with Longhorn is off')
}

/** What is well needs no word: `doctor` and /ready have it all. */
function tellFindings(log: Logger, backend: Backend): void {
  if (!hasProbe(backend)) return
  for (const { level, what, text } of backend.findings) {
    if (level !== 'ok') log.warn({ backend: backend.name, what }, text)
  }
  if (backend.writeRefusal !== undefined) log.error({ backend: backend.name }, backend.writeRefusal)
}

function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || /^127\.\d+\.\d+\.\d+$/.test(host)
}

/** Of listening at a host that is unknown, of another machine, or of a family that is not there. */
const unusableHost = ['EADDRNOTAVAIL', 'ENOTFOUND', 'EAI_AGAIN', 'EAFNOSUPPORT', 'EINVAL']

function explained(error: unknown, { host, port }: Config): unknown {
  const code = error instanceof Error && 'code' in error ? error.code : undefined
  const options = { cause: error }
  if (code === 'EADDRINUSE') {
    const how = 'Stop the program that listens there, or set PORT.'
    return new CommandError(`Port ${port} of ${host} is in use. ${how}`, options)
  }
  if (code === 'EACCES') {
    return new CommandError(
      `Port ${port} of ${host} needs more rights. Set PORT over 1023.`,
      options,
    )
  }
  if (unusableHost.includes(String(code))) {
    return new ConfigError([
      `HOST: ${JSON.stringify(host)} was given; an address of this machine is expected (${String(code)}).`,
    ])
  }
  return error
}
