// The Longhorn that this server knows, as its configuration has it, and what all clusters of its store make
// of an image.

import { readFileSync } from 'node:fs'
import { type Image, type ImageStore, asError, ingestId } from '@backing-image/core'
import {
  Cluster,
  type ClusterOptions,
  LonghornClient,
  type LonghornReport,
  StatusBoard,
  unreachable,
} from '@backing-image/longhorn'
import type { Logger } from 'pino'
import type { Config } from './config.ts'
import { FileSigner } from './signature.ts'
import { alignedFileName, fileName } from './view.ts'

/** How often a server without a Longhorn of its own learns what others see. */
const refreshIntervalMs = 10_000

export interface Longhorn {
  client?: LonghornClient
  /** The cluster of `client`, where images are made known. */
  cluster?: Cluster
  board: StatusBoard
}

/** Begins to make the images of a store known, and to learn what became of that. */
export async function startLonghorn(
  config: Config,
  client: LonghornClient | undefined,
  {
    store,
    log,
    onProblem,
    intervals,
  }: Pick<ClusterOptions, 'intervals' | 'onProblem'> & {
    store: ImageStore
    log: Logger
  },
): Promise<Longhorn & { stop(): Promise<void> }> {
  const board = new StatusBoard(store.clusters)
  if (!client || !config.longhorn) {
    const refresh = async (): Promise<void> => {
      await board.refresh().catch((error: unknown) => onProblem(asError(error)))
    }
    await refresh()
    const timer = setInterval(() => void refresh(), refreshIntervalMs).unref()
    return { board, stop: async () => clearInterval(timer) }
  }
  const { cluster: name, register } = config.longhorn
  const cluster = new Cluster({
    client,
    store,
    board,
    cluster: name,
    register,
    obstacles: obstaclesOf(config),
    urlOf: urlsOf(config),
    onProblem,
    onChange: (report) => tellLonghorn(log, report),
    onRegistered: ({ registeredAs, name: image, version }) =>
      log.info({ cluster: name, name: image, version, registeredAs }, 'Longhorn knows an image'),
    ...(intervals && { intervals }),
  })
  cluster.start()
  return { client, cluster, board, stop: async () => await cluster.stop() }
}

/** What keeps Longhorn from fetching anything here; empty when nothing does. */
export function obstaclesOf(config: Config): string[] {
  const { publicUrl } = config
  const isUnsigned = new FileSigner(config).path('any-00000000', 'any') === undefined
  return unreachable({ isUnsigned, ...(publicUrl !== undefined && { publicUrl }) }, 'Longhorn')
}

function urlsOf(config: Config): (image: Image, isAligned: boolean) => string | undefined {
  const signer = new FileSigner(config)
  return (image, isAligned) => {
    const file = isAligned ? alignedFileName(image) : fileName(image)
    const path = signer.path(ingestId(image.name, image.uuid), file)
    return path === undefined || config.publicUrl === undefined
      ? undefined
      : `${config.publicUrl.replace(/\/+$/, '')}${path}`
  }
}

/** One line for each change. */
function tellLonghorn(log: Logger, { cluster, url, status, message }: LonghornReport): void {
  const about = { cluster, url, ...(message !== '' && { message }) }
  if (status === 'ok') log.info(about, 'Longhorn answers')
  else log.warn(about, 'Longhorn does not answer')
}

/** Undefined where LONGHORN_API_URL is not set: the integration is off. */
export function openLonghorn({ longhorn, extraCaFile }: Config): LonghornClient | undefined {
  if (!longhorn) return undefined
  const { apiUrl, authToken } = longhorn
  return new LonghornClient({
    url: apiUrl,
    ...(authToken !== undefined && { token: authToken }),
    ...(extraCaFile !== undefined && { extraCa: readFileSync(extraCaFile, 'utf8') }),
  })
}
