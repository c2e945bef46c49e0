// bimrpc.BackingImageManagerService: the interface of a disk's files to longhorn-manager (contract §1).

import { status } from '@grpc/grpc-js'
import { ImageError, asError, isImageError } from '@backing-image/core'
import { type PortRange, formatAddress, parseAddress } from '../address.ts'
import type { ImageFiles, Launch } from '../image-files.ts'
import type { Log } from '../log.ts'
import { type Build, apiMinVersion, apiVersion } from '../options.ts'
import { imagePath, nameOf, sourcePath } from '../paths.ts'
import type { ImageBackups } from './backups.ts'
import { Copies } from './copies.ts'
import { getSourceFile, transferSourceFile } from './data-source-client.ts'
import type * as message from './messages.ts'
import { imageResponse } from './messages.ts'
import { removeRemains } from './removal.ts'
import { RpcError, missingArgument, refusal } from './rpc-error.ts'

export interface ServiceOptions {
  files: ImageFiles
  backups: ImageBackups
  diskPath: string
  diskUuid: string
  /** Where others reach this pod; empty where it is not known. */
  podIp: string
  /** Of the REST interface, as PrepareDownload tells it. */
  syncPort: number
  /** Of the receivers. */
  portRange: PortRange
  build: Build
  log: Log
}

/** The unary methods, each with its request and its answer as they are on the wire. */
export class Service {
  readonly #options: ServiceOptions
  readonly #copies: Copies

  constructor(options: ServiceOptions) {
    this.#options = options
    this.#copies = new Copies(options)
  }

  async close(): Promise<void> {
    await this.#copies.close()
  }

  versionGet(): message.VersionResponse {
    const { version, gitCommit, buildDate } = this.#options.build
    return {
      version,
      gitCommit,
      buildDate,
      backing_image_manager_api_version: apiVersion,
      backing_image_manager_api_min_version: apiMinVersion,
    }
  }

  async get({ name, uuid }: message.ImageKey): Promise<message.ImageResponse> {
    if (name === '' || uuid === '') throw missingArgument()
    try {
      return imageResponse(await this.#options.files.get(this.#path(name, uuid)))
    } catch (error) {
      if (isImageError(error, 'invalid_argument')) throw error
      if (!isImageError(error, 'not_found')) throw refusal(error)
      const text = `cannot find backing image ${name}(${uuid})`
      throw new RpcError(status.NOT_FOUND, text, { cause: error })
    }
  }

  async list(): Promise<message.ListResponse> {
    const files = await this.#options.files.list().catch((error: unknown) => {
      throw refusal(error)
    })
    const images = new Map<string, message.ImageResponse>()
    for (const file of files) {
      const name = nameOf(file.filePath, file.uuid)
      // Of two files of one name the older is told: longhorn-manager deletes it when it is not the one
      // that it wants, and then sees the other (contract §6.5).
      if (!images.has(name)) images.set(name, imageResponse(file))
    }
    return { backing_images: Object.fromEntries(images) }
  }

  async delete({ name, uuid }: message.ImageKey): Promise<void> {
    if (name === '' || uuid === '') throw missingArgument()
    const { files, diskPath } = this.#options
    const path = this.#path(name, uuid)
    this.#copies.stop(path)
    try {
      await files.remove(path)
    } catch (error) {
      throw refusal(error)
    } finally {
      await removeRemains(diskPath, name, uuid)
    }
    this.#options.log.info({ name, uuid }, 'an image was deleted')
  }

  async sync({ spec, from_address }: message.SyncRequest): Promise<message.ImageResponse> {
    if (from_address === '') throw missingArgument()
    const launch = this.#launch(spec)
    const { name, uuid } = launch
    const from = formatAddress(parseAddress(from_address))
    await this.#copies.start(launch, { name, uuid }, from)
    this.#options.log.info({ name, uuid, from }, 'a copy is waited for')
    return await this.get(launch)
  }

  async send({ name, uuid, to_address }: message.SendRequest): Promise<void> {
    if (name === '' || to_address === '') throw missingArgument()
    const path = this.#path(name, uuid)
    await this.#options.files.send(path, to_address).catch((error: unknown) => {
      throw refusal(error)
    })
    this.#options.log.info({ name, uuid, toAddress: to_address }, 'a copy is being sent')
  }

  async fetch({ spec, data_source_address }: message.FetchRequest): Promise<message.ImageResponse> {
    const { files, diskPath, log } = this.#options
    const launch = this.#launch(spec)
    const { name, uuid } = launch
    let source = launch.path
    if (data_source_address !== '') {
      source = sourcePath(diskPath, name, uuid)
      await takeOver(data_source_address, source, uuid)
    }
    await files.fetch(launch, source).catch((error: unknown) => {
      throw refusal(error)
    })
    log.info({ name, uuid, source }, 'an image is taken over')
    return await this.get(launch)
  }

  async prepareDownload(key: message.ImageKey): Promise<message.PrepareDownloadResponse> {
    const { podIp, syncPort } = this.#options
    const { state = '' } = (await this.get(key)).status ?? {}
    if (state !== 'ready') {
      const text = `invalid backing image state ${state} for the download`
      throw new RpcError(status.FAILED_PRECONDITION, text)
    }
    return {
      src_file_path: this.#path(key.name, key.uuid),
      address: formatAddress({ host: podIp, port: syncPort }),
    }
  }

  async backupCreate(request: message.BackupCreateRequest): Promise<void> {
    const { name, uuid, checksum, credential, parameters } = request
    if (name === '' || uuid === '') throw missingArgument()
    await this.#options.backups.create({
      name,
      uuid,
      path: this.#path(name, uuid),
      checksum,
      backupTarget: request.backup_target,
      labels: request.labels,
      credential,
      compressionMethod: request.compression_method,
      concurrentLimit: request.concurrent_limit,
      parameters,
    })
    this.#options.log.info({ name, uuid }, 'a backup has begun')
  }

  async backupStatus({ name }: { name: string }): Promise<message.BackupStatusResponse> {
    if (name === '') throw missingArgument()
    try {
      const { progress, backupUrl, error, state } = this.#options.backups.status(name)
      return { progress, backup_url: backupUrl, error, state }
    } catch (error) {
      const isUnknown = isImageError(error, 'not_found')
      const why = isUnknown ? `backup backing image not found ${name}` : asError(error).message
      const text = `failed to get backup status ${name}: ${why}`
      throw new RpcError(status.UNKNOWN, text, { cause: error })
    }
  }

  #path(name: string, uuid: string): string {
    return imagePath(this.#options.diskPath, name, uuid)
  }

  /** What is to become a file, with its name. Rejects what is missing, and names that lead elsewhere. */
  #launch(spec: message.Spec | null): Launch & { name: string } {
    const { name = '', uuid = '', size = 0, checksum = '' } = spec ?? {}
    if (name === '' || uuid === '') throw missingArgument()
    if (!Number.isSafeInteger(size)) {
      throw new ImageError(
        'invalid_argument',
        `No image has ${size} bytes: at most 2^53 are expected.`,
      )
    }
    const { diskUuid } = this.#options
    const path = this.#path(name, uuid)
    return { name, path, uuid, diskUuid, expectedChecksum: checksum, size, dataEngine: 'v1' }
  }
}

/** Has the data source let go of its file, once it is the one that is wanted. */
async function takeOver(address: string, path: string, uuid: string): Promise<void> {
  const file = await getSourceFile(address)
  const isDone = file.state === 'ready' || file.state === 'ready-for-transfer'
  if (file.filePath !== path || file.uuid !== uuid || !isDone) {
    const found = `uuid ${file.uuid}, state ${file.state}`
    const text = `invalid data source file ${file.filePath} for fetch, ${found}`
    throw new RpcError(status.FAILED_PRECONDITION, text)
  }
  await transferSourceFile(address)
}
