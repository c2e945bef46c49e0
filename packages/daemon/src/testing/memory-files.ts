// The files of a disk as a map, for tests of what asks for them: states change when a test says so.

import { ImageError } from '@backing-image/core'
import type { FileInfo } from '../file-info.ts'
import type { ImageFiles, Launch } from '../image-files.ts'

export class MemoryFiles implements ImageFiles {
  readonly #files = new Map<string, FileInfo>()
  /** What was asked, in words. */
  readonly asked: string[] = []
  /** What the next files that are received become. */
  received: FileInfo['state'] = 'starting'
  /** Thrown by whatever is asked next. */
  trouble: Error | undefined

  change(path: string, change: Partial<FileInfo>): void {
    const file = this.#files.get(path)
    if (file) this.#files.set(path, { ...file, ...change })
  }

  async list(): Promise<FileInfo[]> {
    this.asked.push('list')
    this.#mayFail()
    return [...this.#files.values()]
  }

  async get(path: string): Promise<FileInfo> {
    this.#mayFail()
    const file = this.#files.get(path)
    if (!file) throw new ImageError('not_found', `can not find sync file ${path}`)
    return file
  }

  async remove(path: string): Promise<void> {
    this.#mayFail()
    this.#files.delete(path)
  }

  async forget(path: string): Promise<void> {
    this.#files.delete(path)
  }

  async fetch(launch: Launch, source: string): Promise<void> {
    this.asked.push(`fetch ${source}`)
    this.#begin(launch, 'pending')
  }

  async receive(launch: Launch, { port }: { port: number; fileType: string }): Promise<void> {
    this.asked.push(`receive on ${port}`)
    this.#begin(launch, this.received)
  }

  async send(path: string, toAddress: string): Promise<void> {
    const { state } = await this.get(path)
    if (state !== 'ready') {
      throw new ImageError('failed_precondition', `invalid state ${state} for file sending`)
    }
    this.asked.push(`send to ${toAddress}`)
  }

  async fail(path: string, reason: string): Promise<void> {
    this.change(path, { state: 'failed', message: reason })
  }

  #begin({ path, uuid, diskUuid, expectedChecksum, size }: Launch, state: FileInfo['state']): void {
    this.#mayFail()
    if (this.#files.has(path)) {
      throw new ImageError('already_exists', `file ${path} already exists`)
    }
    this.#files.set(path, {
      diskUUID: diskUuid,
      expectedChecksum,
      filePath: path,
      uuid,
      size,
      virtualSize: 0,
      realSize: 0,
      state,
      progress: 0,
      processedSize: 0,
      modificationTime: '',
      currentChecksum: '',
      message: '',
      sendingReference: 0,
    })
  }

  #mayFail(): void {
    const { trouble } = this
    this.trouble = undefined
    if (trouble) throw trouble
  }
}

/** A log that keeps its lines. */
export class Lines {
  readonly all: string[] = []
  info(about: object, text: string): void {
    this.#keep(about, text)
  }
  warn(about: object, text: string): void {
    this.#keep(about, text)
  }
  error(about: object, text: string): void {
    this.#keep(about, text)
  }
  #keep(about: object, text: string): void {
    this.all.push(`${text} ${JSON.stringify(about)}`)
  }
}
