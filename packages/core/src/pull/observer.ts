// Who is told how a pull goes on: the log and the metrics of a server.

import type { Image } from '../image.ts'

export interface PullObserver {
  /** So many have come. */
  bytes(count: number): void
  /** Something went wrong, and is tried again. */
  trouble(error: Error): void
  ready(image: Image): void
  failed(error: Error): void
  /** This process does not go on with it; another does. */
  left(): void
}

const nothing = (): void => {}

export const silent: PullObserver = {
  bytes: nothing,
  trouble: nothing,
  ready: nothing,
  failed: nothing,
  left: nothing,
}
