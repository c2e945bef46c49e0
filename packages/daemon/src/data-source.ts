// The short-lived process that makes the first copy of an image on a disk (contract §2.2, §4.4): it begins at
// once, tells how far it is, and hands the file over when it is asked to.

import { setTimeout as pause } from 'node:timers/promises'
import { ImageError, asError, isImageError } from '@backing-image/core'
import type { Disk } from './disk.ts'
import type { FileInfo, FileState } from './file-info.ts'
import { type Launch, type Values, emptyInfo } from './image-files.ts'
import type { Log } from './log.ts'
import { sourcePath } from './paths.ts'

export interface DataSourceParts {
  disk: Disk
  log: Log
  diskUuid: string
  name: string
  uuid: string
  sourceType: string
  parameters: Values
  /** SHA-512 in hex, or empty. */
  checksum: string
  credential: Values
  /** Has a replica send the export here; rejects where it can not be asked. */
  requestExport: (order: ExportOrder) => Promise<void>
  /** How long the first byte may take to come; 60 s unless a test wants less (contract §4.3). */
  beginTimeoutMs?: number
  /** Where a volume's replica sends to; 8002 unless a test wants another (contract §0). */
  exportPort?: number
}

export interface ExportOrder {
  /** Of the replica: `host:port`, also with a scheme. */
  senderAddress: string
  snapshotName: string
  /** Where it is to send to. */
  port: number
  /** How long one request of its may take. */
  timeoutSeconds: number
}

/** A file as `GET /v1/file` tells it. */
export interface DataSourceInfo extends Omit<FileInfo, 'state'> {
  sourceType: string
  parameters: Values
  name: string
  state: FileState | ''
}

const usualBeginTimeoutMs = 60_000
const usualExportPort = 8002
const exportTimeoutSeconds = 60
const tickMs = 1_000
const notBegun: ReadonlySet<string> = new Set(['', 'pending', 'starting'])

export class DataSource {
  readonly #options: DataSourceParts
  readonly #path: string
  readonly #closing = new AbortController()
  /** What is told from the hand-over on, or since nothing has begun in time. */
  #last: DataSourceInfo | undefined

  private constructor(options: DataSourceParts) {
    this.#options = options
    this.#path = sourcePath(options.disk.place.root, options.name, options.uuid)
  }

  /** Rejects where the parameters are not what the type of source needs. */
  static async start(options: DataSourceParts): Promise<DataSource> {
    const source = new DataSource(options)
    await source.#begin()
    void source.#watchBegin().catch((error: unknown) => {
      options.log.error({ message: asError(error).message }, 'the source is not watched any more')
    })
    return source
  }

  /** Nobody waits for it any more; what goes on is the disk's. */
  stop(): void {
    this.#closing.abort()
  }

  /**
   * Throws `failed_precondition` when it is over: what was handed over is not ours any more, and when it
   * was too late nobody waits.
   */
  assertGoesOn(): void {
    if (!this.#last) return
    const { state, message } = this.#last
    throw new ImageError(
      'failed_precondition',
      `the datasource file is ${state}. ${message}`.trim(),
    )
  }

  get acceptsUpload(): boolean {
    return this.#options.sourceType === 'upload'
  }

  get sourceType(): string {
    return this.#options.sourceType
  }

  /** Where an upload goes; nothing of it is the client's choice but the size. */
  launch(sizeBytes: number): Launch {
    const { uuid, checksum, parameters } = this.#options
    return {
      path: this.#path,
      uuid,
      // Longhorn leaves it out of uploads.
      diskUuid: this.acceptsUpload ? '' : this.#options.diskUuid,
      expectedChecksum: checksum,
      size: sizeBytes,
      dataEngine: parameters['data-engine'] || 'v1',
    }
  }

  /** Rejects with `not_found` where the source has nothing to tell yet. */
  async info(): Promise<DataSourceInfo> {
    if (this.#last) return this.#last
    const { disk } = this.#options
    try {
      const info = await disk.get(this.#path)
      return this.#told({
        ...info,
        state: info.state === 'ready' ? 'ready-for-transfer' : info.state,
      })
    } catch (error) {
      // Who uploads waits for it to be `pending` before the first byte.
      if (!this.acceptsUpload || !isImageError(error, 'not_found')) throw error
      return this.#told(this.#nothing())
    }
  }

  /** Hands the file over: it stays on the disk, for the daemon to fetch. Once done it stays done. */
  async transfer(): Promise<void> {
    if (this.#last?.state === 'ready') return
    const info = await this.info()
    if (info.state !== 'ready-for-transfer') {
      const { state } = info
      throw new ImageError(
        'failed_precondition',
        `datasource file current state is ${state} rather than ready-for-transfer, cannot do transfer`,
      )
    }
    // First, so that nobody is told meanwhile that there is none.
    this.#last = { ...info, state: 'ready' }
    await this.#options.disk.forget(this.#path)
    this.#options.log.info({ path: this.#path }, 'the file is handed over')
  }

  #told(info: Omit<FileInfo, 'state'> & { state: FileState | '' }): DataSourceInfo {
    const { sourceType, parameters, name } = this.#options
    return { sourceType, parameters, name, ...info }
  }

  /** Of a file that nobody has sent a byte of. */
  #nothing(): FileInfo {
    return emptyInfo({ ...this.launch(0), diskUuid: this.#options.diskUuid })
  }

  async #begin(): Promise<void> {
    const { sourceType } = this.#options
    const begin = beginnings.get(sourceType)
    if (begin) return await begin(this.#options, this.launch(0))
    throw new ImageError('invalid_argument', `unknown data source type: ${sourceType}`)
  }

  async #watchBegin(): Promise<void> {
    const { signal } = this.#closing
    const beginTimeoutMs = this.#options.beginTimeoutMs ?? usualBeginTimeoutMs
    const deadlineMs = performance.now() + beginTimeoutMs
    let now: DataSourceInfo
    do {
      const pauseMs = Math.min(tickMs, beginTimeoutMs)
      await pause(pauseMs, undefined, { ref: false, signal }).catch(() => {})
      if (signal.aborted) return
      now = await this.info().catch(() => this.#told(this.#nothing()))
      if (!notBegun.has(now.state)) return
    } while (performance.now() < deadlineMs)
    const message = 'timeout waiting for the datasource file processing begin'
    this.#last = { ...now, state: 'failed', message }
    this.#options.log.warn({ path: this.#path }, message)
    await this.#options.disk.remove(this.#path)
  }
}

type Begin = (options: DataSourceParts, launch: Launch) => Promise<void>

const beginnings = new Map<string, Begin>(
  Object.entries<Begin>({
    upload: async () => {},
    download: async ({ disk, parameters }, launch) => {
      disk.download(launch, wanted(parameters, 'url'))
    },
    'export-from-volume': async (options, launch) => await beginExport(options, launch),
    restore: async ({ disk, parameters, credential }, launch) => {
      const url = wanted(parameters, 'backup-url')
      const concurrentLimit = naturalOf(wanted(parameters, 'concurrent-limit'))
      if (concurrentLimit === undefined) {
        throw new ImageError('invalid_argument', 'the parameter concurrent-limit is no number')
      }
      disk.restore(launch, { url, concurrentLimit, credential })
    },
    clone: async ({ disk, parameters, credential }, launch) => {
      disk.clone(launch, {
        name: wanted(parameters, 'backing-image'),
        uuid: wanted(parameters, 'backing-image-uuid'),
        encryption: wanted(parameters, 'encryption'),
        credential,
      })
    },
  }),
)

async function beginExport(options: DataSourceParts, launch: Launch): Promise<void> {
  const { disk, parameters, log, requestExport } = options
  const snapshotName = wanted(parameters, 'snapshot-name')
  const senderAddress = wanted(parameters, 'sender-address')
  const size = naturalOf(parameters['volume-size']) ?? 0
  const timeoutSeconds =
    naturalOf(parameters['file-sync-http-client-timeout']) ?? exportTimeoutSeconds
  // Longhorn's user says `export-type`, which the process it starts was never told to read.
  const fileType = parameters['file-type'] || parameters['export-type'] || ''
  const port = options.exportPort ?? usualExportPort
  await disk.receive({ ...launch, size }, { port, fileType })
  const order = { snapshotName, senderAddress, port, timeoutSeconds }
  // Longhorn waits for the first byte all the same: until the time for that is over it is `starting`.
  void requestExport(order).catch((error: unknown) => {
    const { message } = asError(error)
    log.error({ senderAddress, message }, 'the replica can not be asked for the export')
  })
}

function wanted(parameters: Values, key: string): string {
  const value = parameters[key] ?? ''
  if (value !== '') return value
  throw new ImageError('invalid_argument', `the parameter ${key} is not specified`)
}

function naturalOf(text: string | undefined): number | undefined {
  return text !== undefined && /^\d{1,15}$/.test(text) ? Number(text) : undefined
}
