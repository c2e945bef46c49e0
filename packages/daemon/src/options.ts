// What the two programs of a Longhorn disk are started with: the command line fills it in, and nothing
// below reads the environment. A door of its own, for gRPC takes a fifth of a second to load.

import type { Fetcher } from '@backing-image/core'
import type { Address, PortRange } from './address.ts'
import type { Values } from './image-files.ts'
import type { Log } from './log.ts'

export {
  type Address,
  type PortRange,
  formatAddress,
  parseAddress,
  parsePortRange,
} from './address.ts'
export type { Values } from './image-files.ts'

/** Of the gRPC interface; longhorn-manager compares them with its own (contract §1.5). */
export const apiVersion = 3
export const apiMinVersion = 3

/** What VersionGet tells of this program; commit and date are empty where they are not known. */
export interface Build {
  version: string
  gitCommit: string
  buildDate: string
}

export interface CommonOptions {
  /** Of the daemon's gRPC, or of a data source's REST. */
  listen: Address
  /** Of the REST interface to the files. */
  syncListen: Address
  /** The root of the disk, absolute. */
  diskPath: string
  /** Where others reach this process, when no storage network does; empty where it is not known. */
  podIp: string
  /** Reads what URLs name. */
  fetcher: Fetcher
  log: Log
}

/** `backing-image-manager daemon`. */
export interface DaemonOptions extends CommonOptions {
  /** Empty: whichever longhorn-disk.cfg tells; else it must be that one. */
  diskUuid: string
  /** Of the receivers, one a running copy. */
  portRange: PortRange
  build: Build
}

/** `backing-image-manager data-source`. */
export interface DataSourceOptions extends CommonOptions {
  name: string
  uuid: string
  /** `download`, `upload`, `export-from-volume`, `restore` or `clone`. */
  sourceType: string
  parameters: Values
  /** Secrets; never logged. */
  credential: Values
  /** SHA-512 in hex, or empty. */
  checksum: string
}

/** A program that runs. */
export interface Running {
  /** Ends what goes on, and resolves when nothing listens any more. */
  close(): Promise<void>
}
