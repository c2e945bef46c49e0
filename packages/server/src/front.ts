// What every route is given: the engine, the configuration and the ends of the process's life.

import type { HttpBindings } from '@hono/node-server'
import type { Context } from 'hono'
import type { Logger } from 'pino'
import type { ImageStore, SourceType } from '@backing-image/core'
import type { RunningDaemon } from '@backing-image/daemon'
import type { Config } from './config.ts'
import type { Longhorn } from './longhorn.ts'
import type { Metrics } from './metrics.ts'
import type { Health } from './ready.ts'

export interface Deps {
  store: ImageStore
  config: Config
  log: Logger
  metrics: Metrics
  health: Health
  longhorn: Longhorn
  /** The disk of Longhorn that this server shares, where it does. */
  disk?: Pick<RunningDaemon, 'images'> | undefined
  /** The source types that this server can fetch from by itself. */
  sourceTypes: readonly SourceType[]
  /** Of this program, for /openapi.json. */
  version: string
  /** Aborted when the server stops taking requests: what merely waits is answered now. */
  stopping?: AbortSignal
  /** Aborted when the time to finish is over: transfers end now. */
  aborting?: AbortSignal
}

export interface Env {
  Bindings: HttpBindings
  Variables: {
    requestId: string
    /** What the request may do; absent where no token is needed. */
    grant: Grant
  }
}

export type Grant = 'write' | 'read' | 'none'

export type Call = Context<Env>
