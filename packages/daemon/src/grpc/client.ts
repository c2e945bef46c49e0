// Calls to other programs of Longhorn: daemons of other disks, and replicas that export a volume. Each
// makes its own connection, directly and never by way of a proxy (contract §1.3).

import {
  type ChannelOptions,
  Client,
  type MethodDefinition,
  type ServiceDefinition,
  type ServiceError,
  credentials,
} from '@grpc/grpc-js'
import type {
  BackupCreateRequest,
  BackupStatusResponse,
  FetchRequest,
  ImageKey,
  ImageResponse,
  ListResponse,
  PrepareDownloadResponse,
  Spec,
  SyncRequest,
  VersionResponse,
  VolumeExportRequest,
} from './messages.ts'
import { managerService, syncAgentService } from './proto.ts'
import { RpcError } from './rpc-error.ts'

const channelOptions: ChannelOptions = {
  'grpc.enable_http_proxy': 0,
  'grpc.service_config_disable_resolution': 1,
  // Otherwise a failure before would make this call wait.
  'grpc.use_local_subchannel_pool': 1,
}

const deadlineMs = 60_000
const exportDeadlineMs = 24 * 3_600_000

interface Call {
  /** host:port. */
  address: string
  service: ServiceDefinition
  method: string
  deadlineMs?: number
  signal?: AbortSignal
}

/** Of an image that is asked for: its sizes are found out there. */
export type AskedSpec = Pick<Spec, 'name' | 'uuid' | 'size' | 'checksum'>

/** Another daemon. Every call rejects with a RpcError, after a minute at the latest. */
export class DaemonClient {
  /** host:port. */
  readonly address: string

  constructor(address: string) {
    this.address = address
  }

  async get(key: ImageKey): Promise<ImageResponse> {
    return await this.#call('Get', key)
  }

  async list(): Promise<Record<string, ImageResponse>> {
    const { backing_images } = await this.#call<ListResponse>('List', {})
    return backing_images
  }

  async delete(key: ImageKey): Promise<void> {
    await this.#call('Delete', key)
  }

  /** Asks it to send to `toAddress`; resolves when it has begun. */
  async send(key: ImageKey, toAddress: string, signal?: AbortSignal): Promise<void> {
    await this.#call('Send', { ...key, to_address: toAddress }, signal)
  }

  async sync(spec: AskedSpec, fromAddress: string): Promise<ImageResponse> {
    const request: SyncRequest = { spec: { ...noSizes, ...spec }, from_address: fromAddress }
    return await this.#call('Sync', request)
  }

  async fetch(spec: AskedSpec, dataSourceAddress: string): Promise<ImageResponse> {
    const asked = { ...noSizes, ...spec }
    const request: FetchRequest = { spec: asked, data_source_address: dataSourceAddress }
    return await this.#call('Fetch', request)
  }

  async prepareDownload(key: ImageKey): Promise<PrepareDownloadResponse> {
    return await this.#call('PrepareDownload', key)
  }

  async version(): Promise<VersionResponse> {
    return await this.#call('VersionGet', {})
  }

  /** Resolves when the backup goes on. */
  async backupCreate(request: BackupCreateRequest): Promise<void> {
    await this.#call('BackupCreate', request)
  }

  async backupStatus(name: string): Promise<BackupStatusResponse> {
    return await this.#call('BackupStatus', { name })
  }

  async #call<R>(method: string, request: object, signal?: AbortSignal): Promise<R> {
    const { address } = this
    const to = { address, service: managerService, method, ...(signal && { signal }) }
    return await call<R>(to, request)
  }
}

const noSizes = { virtualSize: 0, realSize: 0 }

/**
 * Has the replica whose sync agent is at `address` send a snapshot; resolves when it has, after a day at
 * the latest. Rejects with a RpcError.
 */
export async function exportVolume(
  address: string,
  request: VolumeExportRequest,
  signal?: AbortSignal,
): Promise<void> {
  const to = {
    address,
    service: syncAgentService,
    method: 'VolumeExport',
    ...(signal && { signal }),
  }
  await call({ ...to, deadlineMs: exportDeadlineMs }, request)
}

async function call<R>(to: Call, request: object): Promise<R> {
  const { path, requestSerialize, responseDeserialize } = methodOf<R>(to)
  to.signal?.throwIfAborted()
  const client = new Client(to.address, credentials.createInsecure(), channelOptions)
  try {
    return await new Promise((resolve, reject) => {
      const deadline = Date.now() + (to.deadlineMs ?? deadlineMs)
      const done = (error: ServiceError | null, response?: R) => {
        to.signal?.removeEventListener('abort', cancel)
        if (error) reject(new RpcError(error.code, error.details, { cause: error }))
        else if (response !== undefined) resolve(response)
      }
      const started = client.makeUnaryRequest(
        path,
        requestSerialize,
        responseDeserialize,
        request,
        { deadline },
        done,
      )
      const cancel = () => started.cancel()
      to.signal?.addEventListener('abort', cancel)
    })
  } finally {
    client.close()
  }
}

function methodOf<R>({ service, method }: Call): MethodDefinition<object, R> {
  const definition: MethodDefinition<object, R> | undefined = service[method]
  if (definition === undefined) throw new Error(`The service has no method ${method}.`)
  return definition
}
