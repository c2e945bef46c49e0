// What Longhorn has, told whenever that changes: pushed through its WebSocket, and asked for where that
// does not come about or stays silent.

import { setTimeout as pause } from 'node:timers/promises'
import { asError } from '@backing-image/core'
import { WebSocket } from 'ws'
import type { LonghornClient } from './client.ts'
import { type LonghornImage, parseImages } from './resource.ts'

export interface Watching {
  /** All of its backing images; may be told again what is known. */
  onImages: (images: LonghornImage[]) => void
  /** It is not reached, or was lost; asked again by and by. */
  onTrouble: (error: Error) => void
  signal: AbortSignal
  /** How often it is asked, also beside a WebSocket that is open, in milliseconds. */
  pollIntervalMs?: number
  /** How soon after a failure, which doubles with each in a row, and the most it becomes. */
  retryDelayMs?: { first: number; most: number }
}

const usualPollIntervalMs = 30_000
const usualRetryDelayMs = { first: 1000, most: 60_000 }
const messageBytesMax = 64 * 1024 * 1024

/** Resolves when the signal aborts; never rejects. */
export async function watchImages(client: LonghornClient, watching: Watching): Promise<void> {
  const { signal, onImages, onTrouble, pollIntervalMs = usualPollIntervalMs } = watching
  const { first, most } = watching.retryDelayMs ?? usualRetryDelayMs
  const feed = new Feed(client, onImages)
  let failures = 0
  while (!signal.aborted) {
    try {
      onImages(await client.list(signal))
      failures = 0
      feed.open(signal)
      await pause(pollIntervalMs, undefined, { signal })
    } catch (error) {
      if (signal.aborted) break
      onTrouble(asError(error))
      const delayMs = Math.min(most, first * 2 ** failures)
      failures += 1
      await pause(delayMs, undefined, { signal }).catch(() => {})
    }
  }
  feed.close()
}

/** The WebSocket, as long as there is one: without it only the polls tell, which is no trouble. */
class Feed {
  readonly #client: LonghornClient
  readonly #onImages: Watching['onImages']
  #socket: WebSocket | undefined

  constructor(client: LonghornClient, onImages: Watching['onImages']) {
    this.#client = client
    this.#onImages = onImages
  }

  /** Opens it where it is not open. */
  open(signal: AbortSignal): void {
    if (this.#socket || signal.aborted) return
    const { url, headers, agent } = this.#client.feed
    const socket = new WebSocket(url, {
      headers,
      agent,
      maxPayload: messageBytesMax,
      handshakeTimeout: 10_000,
      perMessageDeflate: false,
    })
    this.#socket = socket
    const gone = (): void => {
      if (this.#socket === socket) this.#socket = undefined
    }
    socket.on('message', (data: Buffer) => {
      const images = parseImages(jsonOf(data.toString()))
      if (images) this.#onImages(images)
    })
    socket.on('error', gone)
    socket.on('close', gone)
  }

  close(): void {
    this.#socket?.terminate()
  }
}

function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}
