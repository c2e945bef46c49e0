// One disk of Longhorn: its files, and every way by which they come and go. What its interfaces ask of it
// is in image-files.ts.

import { ImageError, openDownload, unpackGzip, type Fetcher } from '@backing-image/core'
import { type Arrival, assertWanted } from './arrival.ts'
import { openBackup } from './backup/restore.ts'
import { type CloneOrder, cloned } from './clone.ts'
import { type Conversion, conversionOf, converted } from './convert.ts'
import { Files, type FilesOptions, assertSize } from './files.ts'
import type { ImageFiles, Launch, Values } from './image-files.ts'
import type { ManagedFile } from './managed-file.ts'
import { temporaryPath } from './paths.ts'
import { shapeOf } from './shape.ts'
import { Receiver } from './ssync/receiver.ts'
import { sendFile } from './ssync/sender.ts'

export interface DiskOptions extends FilesOptions {
  /** Reads what a URL names. */
  fetcher: Fetcher
}

export interface RestoreOrder {
  url: string
  concurrentLimit: number
  credential: Values
}

const fileTypes = ['', 'raw', 'qcow2']
const portMax = 65_535

export class Disk extends Files implements ImageFiles {
  readonly #fetcher: Fetcher

  constructor({ fetcher, ...options }: DiskOptions) {
    super(options)
    this.#fetcher = fetcher
  }

  /** Goes for the bytes at a URL; a broken connection is gone on with where it was. */
  download(launch: Launch, url: string): void {
    if (!URL.canParse(url)) throw new ImageError('invalid_argument', 'the url is none')
    const target = new URL(url)
    this.#make(launch, async (file) => {
      const { signal } = file
      const download = await openDownload(this.#fetcher, { url: target, signal })
      const isPacked = download.encoding !== ''
      file.announce(isPacked ? -1 : (download.size ?? -1))
      const bytes = isPacked ? unpackGzip(download.bytes, signal) : download.bytes
      return await this.store(file, bytes)
    })
  }

  async receive(
    launch: Launch,
    { port, fileType }: { port: number; fileType: string },
  ): Promise<void> {
    assertSize(launch.size, 'the uploaded file size')
    if (!fileTypes.includes(fileType)) {
      const given = JSON.stringify(fileType.slice(0, 80))
      throw new ImageError(
        'invalid_argument',
        `the file-type is ${given}: raw or qcow2 is expected`,
      )
    }
    if (!(Number.isInteger(port) && port >= 1 && port <= portMax)) {
      throw new ImageError('invalid_argument', `port ${port} is none of 1 to ${portMax}`)
    }
    this.#make(launch, async (file) => await this.#receive(file, port, launch), {
      ...(fileType === 'qcow2' && { conversion: 'to qcow2' }),
    })
  }

  async #receive(file: ManagedFile, port: number, { expectedChecksum }: Launch): Promise<Arrival> {
    const { signal, path } = file
    const receiver = await Receiver.listen({
      ...this.place,
      path: temporaryPath(path),
      port,
      signal,
      onProgress: (lengthBytes) => file.advance(lengthBytes),
    })
    const received = await receiver.received
    // What comes of holes alone has begun nothing yet.
    file.advance(0)
    const { temporary, size, sha512, missingBytes } = received
    try {
      const shape = await shapeOf(this.place.disk, temporaryPath(path))
      // What was never sent are zeros, as Longhorn has it; but only a checksum can tell that they are.
      if (missingBytes === 0 || expectedChecksum !== '') return { temporary, size, sha512, shape }
      const what = `the sender closed before ${missingBytes} of ${size} bytes came`
      throw new ImageError('cancelled', what)
    } catch (error) {
      await temporary.discard()
      throw error
    }
  }

  async send(path: string, toAddress: string): Promise<void> {
    const file = this.find(path)
    const { disk } = this.place
    const { signal } = file
    await file.lend(async () => await sendFile({ path, disk, address: toAddress, signal }))
  }

  /** Brings a backup back. */
  restore(launch: Launch, { url, concurrentLimit, credential }: RestoreOrder): void {
    this.#make(launch, async (file) => {
      const { signal } = file
      const backup = await openBackup(url, credential, { concurrentLimit, signal })
      try {
        file.announce(backup.size)
        const arrival = await this.store(file, backup.bytes)
        await assertSame(arrival, backup.checksum)
        return arrival
      } finally {
        await backup.close()
      }
    })
  }

  /** Makes another image of one that is on this disk, encrypted or decrypted where that is asked for. */
  clone(launch: Launch, order: CloneOrder): void {
    this.#make(
      launch,
      async (file) => await this.store(file, await cloned(this.place, file, order)),
    )
  }

  #make(
    launch: Launch,
    work: (file: ManagedFile) => Promise<Arrival>,
    { conversion }: { conversion?: Conversion } = {},
  ): void {
    const wanted = conversionOf(launch) ?? conversion
    this.start(launch, async (file) => await converted(this.place, file, await work(file), wanted))
  }
}

/** Beside what Longhorn expects, the backup says itself which bytes it has; older ones do not. */
async function assertSame(arrival: Arrival, sha512: string): Promise<void> {
  try {
    assertWanted(arrival, { size: arrival.size, expectedChecksum: sha512 })
  } catch (error) {
    await arrival.temporary.discard()
    throw error
  }
}
