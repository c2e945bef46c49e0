// Where a store is kept, for tests that do the same to each: how servers are started on it, and what
// really lies in it.
//
// A place has `env` (for its servers), `folder` (undefined on a bucket), `provesDeath` (whether a
// successor knows at once that its predecessor is dead; else leases have to run out), `afterlifeMs`
// (for how long what a killed process had sent may still take effect), and `leftovers`, `keys`, `read`,
// `plantForeign`, `foreignFaults` and `remove`; and, to do behind the server's back what no server would,
// `damage`, `plant` and `makeOld`, which resolves to whether that can be done there.

import { mkdirSync, readFileSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { closeSync, openSync, readSync, utimesSync, writeSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { leftovers, readObject, temporaryLeftovers } from './disk.js'

/** Not made by the store, though it looks like it: Longhorn keeps such folders in the same place. */
export const foreignFolder = 'base-0badcafe'
export const foreignContent = 'an image that Longhorn made'

/** A folder: of a local disk, or of a mounted export. */
export class FolderPlace {
  #foreignInode

  constructor(folder, { type = 'local', env = {}, provesDeath = true, afterlifeMs = 0 } = {}) {
    mkdirSync(folder, { recursive: true })
    this.folder = folder
    this.env = { STORAGE_BACKEND_TYPE: type, BACKING_IMAGE_STORAGE_PATH: folder, ...env }
    this.provesDeath = provesDeath
    this.afterlifeMs = afterlifeMs
  }

  async plantForeign() {
    mkdirSync(join(this.folder, foreignFolder), { recursive: true })
    writeFileSync(this.#foreignFile, foreignContent)
    this.#foreignInode = statSync(this.#foreignFile).ino
  }

  async foreignFaults() {
    const isSame =
      statSync(this.#foreignFile, { throwIfNoEntry: false })?.ino === this.#foreignInode &&
      readFileSync(this.#foreignFile, 'utf8') === foreignContent
    return isSame ? [] : [`${foreignFolder} was touched, and is not ours.`]
  }

  get #foreignFile() {
    return join(this.folder, foreignFolder, 'backing')
  }

  /**
   * What must not be there when nobody works but on the ingests in `busy`, `<name>-<uuid>` each, and at
   * most `livingMost` servers run.
   */
  async leftovers(livingMost = 1, busy = []) {
    return [
      ...leftovers(this.folder, [foreignFolder], busy),
      ...temporaryLeftovers(this.folder, livingMost, busy),
    ]
  }

  async keys() {
    return readdirSync(this.folder, { recursive: true, encoding: 'utf8' })
  }

  /** A small JSON object; undefined where there is none. */
  async read(key) {
    return readObject(this.folder, key)
  }

  /** Changes one byte of what is stored. */
  async damage(key, at) {
    const file = openSync(join(this.folder, key), 'r+')
    const byte = Buffer.alloc(1)
    readSync(file, byte, 0, 1, at)
    byte[0] ^= 1
    writeSync(file, byte, 0, 1, at)
    closeSync(file)
  }

  async plant(key, content) {
    const path = join(this.folder, key)
    mkdirSync(dirname(path), { recursive: true })
    writeFileSync(path, content)
  }

  /** As if it had been written two hours ago. */
  makeOld(key) {
    const seconds = Date.now() / 1000 - 7200
    utimesSync(join(this.folder, key), seconds, seconds)
    return true
  }

  async remove() {
    rmSync(this.folder, { recursive: true, force: true })
  }
}

/** A folder that is an NFS mount already: nobody can tell that a process of another client is dead. */
export class NfsPlace extends FolderPlace {
  constructor(folder) {
    super(folder, { type: 'nfs', provesDeath: false, afterlifeMs: 1000 })
  }

  /**
   * Of the dead, whom nothing proves dead, small files stay for an hour, and deleted bytes for a minute;
   * unfinished bytes go with their lease.
   */
  async leftovers(livingMost, busy) {
    const found = await super.leftovers(livingMost, busy)
    return found.filter((text) => !/^\.tmp\/(trash\/.*|.*(?<!~backing)) is left\.$/.test(text))
  }
}
