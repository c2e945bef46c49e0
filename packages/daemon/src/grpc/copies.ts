// Copies from daemons of other disks: a receiver on a port of its own here, then the request to send
// there, then the wait for its end, which is also that of the port (contract §1.5, Sync).

import { setTimeout as delay } from 'node:timers/promises'
import { asError, isImageError } from '@backing-image/core'
import { type PortRange, formatAddress } from '../address.ts'
import type { FileState } from '../file-info.ts'
import type { ImageFiles, Launch } from '../image-files.ts'
import type { Log } from '../log.ts'
import { DaemonClient } from './client.ts'
import type { ImageKey } from './messages.ts'
import { ownAddress } from './own-address.ts'
import { Ports } from './ports.ts'
import { refusal } from './rpc-error.ts'

export interface CopiesOptions {
  files: ImageFiles
  /** Where others reach this pod, when there is no storage network. */
  podIp: string
  portRange: PortRange
  log: Log
}

interface Copy {
  image: ImageKey
  path: string
  port: number
  /** host:port of the daemon that has it. */
  from: string
}

/** A copy that begins or, once it has an end, goes on. */
interface Known {
  path: string
  stop: AbortController
  ended?: Promise<void>
}

/** Whether there is something to copy is known soon; how far it is, is asked less often. */
const soonMs = 200
const usualMs = 3000
const copyMaxMs = 24 * 3_600_000

export class Copies {
  readonly #options: CopiesOptions
  readonly #ports: Ports
  readonly #known = new Set<Known>()

  constructor(options: CopiesOptions) {
    this.#options = options
    this.#ports = new Ports(options.portRange)
  }

  /**
   * Resolves when the file is known and its receiver about to wait; the rest goes on by itself. Rejects
   * with what the files refuse, or when there is no port.
   */
  async start(launch: Launch, image: ImageKey, from: string): Promise<void> {
    const { port, release } = this.#ports.take()
    const { path } = launch
    const known: Known = { path, stop: new AbortController() }
    this.#known.add(known)
    try {
      await this.#options.files.receive(launch, { port, fileType: '' })
    } catch (error) {
      this.#known.delete(known)
      release()
      throw refusal(error)
    }
    // The file has been begun anew: what went on was for another receiver.
    this.#stop((each) => each.path === path && each !== known && each.ended !== undefined)
    known.ended = this.#follow({ image, path, port, from }, known.stop.signal).finally(() => {
      this.#known.delete(known)
      release()
    })
  }

  /** Looks after a path no longer: its file has gone. */
  stop(path: string): void {
    this.#stop((each) => each.path === path)
  }

  async close(): Promise<void> {
    this.#stop(() => true)
    await Promise.all([...this.#known].map(async ({ ended }) => await ended))
  }

  #stop(isMeant: (copy: Known) => boolean): void {
    for (const copy of this.#known) if (isMeant(copy)) copy.stop.abort()
  }

  /** Never rejects: what goes wrong is told of the file. */
  async #follow(copy: Copy, signal: AbortSignal): Promise<void> {
    const { files, log } = this.#options
    const { image, path, port, from } = copy
    const about = { ...image, from, port }
    const endMs = performance.now() + copyMaxMs
    const until = (isWanted: (state: FileState) => boolean, everyMs: number) =>
      this.#until(path, isWanted, { everyMs, endMs, signal })
    const state = await until((now) => now !== 'pending', soonMs)
    // Otherwise the file was here already, is broken or has gone: nobody needs to send.
    if (state !== 'starting') return
    try {
      const toAddress = formatAddress({ host: ownAddress(this.#options.podIp), port })
      await new DaemonClient(from).send(image, toAddress, signal)
      log.info({ ...about, toAddress }, 'a copy was asked for')
    } catch (error) {
      if (signal.aborted) return
      const reason = `${from} was asked for a copy, and does not send: ${asError(error).message}`
      log.warn({ ...about, err: asError(error) }, 'a copy was asked for, and is not sent')
      await files.fail(path, reason.trim()).catch((err: unknown) => {
        log.error({ ...about, err: asError(err) }, 'the file could not be ended')
      })
    }
    const hasEnded = (now: FileState) => now === 'ready' || now === 'failed'
    await until(hasEnded, usualMs)
  }

  /** The state that was waited for; undefined when the file has gone, or nobody waits any more. */
  async #until(
    path: string,
    isWanted: (state: FileState) => boolean,
    { everyMs, endMs, signal }: { everyMs: number; endMs: number; signal: AbortSignal },
  ): Promise<FileState | undefined> {
    while (!signal.aborted && performance.now() < endMs) {
      try {
        const { state } = await this.#options.files.get(path)
        if (isWanted(state)) return state
      } catch (error) {
        if (isImageError(error, 'not_found')) return undefined
        // Another one is the storage's, and may be over at the next look.
      }
      await delay(everyMs, undefined, { signal, ref: false }).catch(() => {})
    }
    return undefined
  }
}
