// What the server counts, in the text format of Prometheus.

import { setTimeout as delay } from 'node:timers/promises'
import { Counter, Gauge, Histogram, Registry, collectDefaultMetrics } from 'prom-client'
import type { Bytes, Reason } from '@backing-image/core'
import type { LonghornReport } from '@backing-image/longhorn'

const prefix = 'backing_image_manager_'
/** From a small file to a large image over a slow line. */
const ingestSeconds = [0.1, 0.5, 1, 5, 15, 60, 300, 900, 3600, 14_400]
/** How long a scrape waits for the images to be counted: it is to be told also of storage that hangs. */
const countTimeMs = 50
const requestSeconds = [0.005, 0.025, 0.1, 0.5, 2.5, 10, 60]

/** How many there are of each kind. */
type Count = () => Promise<ReadonlyMap<string, number>>

export interface IngestTiming {
  /** The same bytes, counted on their way. */
  count(bytes: Bytes): Bytes
  add(bytes: number): void
  /** Seconds since the beginning. */
  end(state: 'ready' | 'failed' | 'left'): number
}

export class Metrics {
  readonly #registry = new Registry()
  readonly #ingestBytes: Counter<'source_type'>
  readonly #ingestSeconds: Histogram<'source_type' | 'state'>
  readonly #servedBytes: Counter
  readonly #requestSeconds: Histogram<'method' | 'route' | 'status'>
  readonly #errors: Counter<'code'>

  constructor() {
    const registers = [this.#registry]
    // Among them the lag of the event loop and the memory.
    collectDefaultMetrics({ register: this.#registry, prefix })
    this.#ingestBytes = new Counter({
      name: `${prefix}ingest_bytes_total`,
      help: 'Bytes of images that were received.',
      labelNames: ['source_type'],
      registers,
    })
    this.#ingestSeconds = new Histogram({
      name: `${prefix}ingest_duration_seconds`,
      help: 'Time from the beginning of an ingest to its end, by how it ended.',
      labelNames: ['source_type', 'state'],
      buckets: ingestSeconds,
      registers,
    })
    this.#servedBytes = new Counter({
      name: `${prefix}served_bytes_total`,
      help: 'Bytes of images that were given to clients.',
      registers,
    })
    this.#requestSeconds = new Histogram({
      name: `${prefix}http_request_duration_seconds`,
      help: 'Time of HTTP requests until their answer was made or sent.',
      labelNames: ['method', 'route', 'status'],
      buckets: requestSeconds,
      registers,
    })
    this.#errors = new Counter({
      name: `${prefix}errors_total`,
      help: 'Answers that were errors, by the code of the problem.',
      labelNames: ['code'],
      registers,
    })
  }

  /** How the images are counted when somebody asks, by state. */
  countImagesBy(count: Count): void {
    this.#gauge(
      'images',
      'state',
      'Names of images, by the state of what the name means now.',
      count,
    )
  }

  /** How the storage is measured when somebody asks, by kind. */
  measureStorageBy(count: Count): void {
    this.#gauge('storage_bytes', 'kind', 'Bytes in the storage, as GET /v1/usage has them.', count)
  }

  /** What is told of Longhorn when somebody asks. */
  watchLonghornBy(look: () => Pick<LonghornReport, 'status' | 'images'>): void {
    const up: Gauge = new Gauge({
      name: `${prefix}longhorn_up`,
      help: 'Whether the Longhorn API answers: 1, or 0.',
      registers: [this.#registry],
      collect: () => up.set(look().status === 'ok' ? 1 : 0),
    })
    const help = 'Images that Longhorn knows or should know, by the state that they have there.'
    this.#gauge(
      'longhorn_images',
      'state',
      help,
      async () => new Map(Object.entries(look().images)),
    )
  }

  beginIngest(sourceType: string): IngestTiming {
    const startedAtMs = performance.now()
    const counter = this.#ingestBytes.labels(sourceType)
    return {
      count: (bytes) => counted(bytes, (length) => counter.inc(length)),
      add: (bytes) => counter.inc(bytes),
      end: (state) => {
        const seconds = (performance.now() - startedAtMs) / 1000
        this.#ingestSeconds.labels(sourceType, state).observe(seconds)
        return Math.round(seconds * 1000) / 1000
      },
    }
  }

  served(bytes: number): void {
    this.#servedBytes.inc(bytes)
  }

  error(code: Reason): void {
    this.#errors.labels(code).inc()
  }

  request(method: string, route: string, status: number, seconds: number): void {
    this.#requestSeconds.labels(method, route, String(status)).observe(seconds)
  }

  get contentType(): string {
    return this.#registry.contentType
  }

  async text(): Promise<string> {
    return await this.#registry.metrics()
  }

  /** What is not counted in time is told as it was, and as it is from the next scrape on. */
  #gauge(name: string, label: string, help: string, count: Count): void {
    const set = async (): Promise<void> => {
      // While the storage is away everything else is still told.
      const counts = await count().catch(() => new Map<string, number>())
      gauge.reset()
      for (const [value, many] of counts) gauge.labels(value).set(many)
    }
    let counting: Promise<void> | undefined
    const gauge = new Gauge({
      name: `${prefix}${name}`,
      help,
      labelNames: [label],
      registers: [this.#registry],
      collect: async () => {
        counting ??= set().finally(() => (counting = undefined))
        await Promise.race([counting, delay(countTimeMs, undefined, { ref: false })])
      },
    })
  }
}

async function* counted(bytes: Bytes, add: (length: number) => void): Bytes {
  for await (const chunk of bytes) {
    add(chunk.length)
    yield chunk
  }
}
