// A disk that hangs as a whole, as a mount does whose server is away: every call waits until the test
// lets go, and then does what it was asked for, late.

import { type Disk, nodeDisk } from '../disk.ts'
import { type Call, Gate, hooked } from './hooked.ts'

export class HangingDisk {
  readonly disk: Disk
  /** In the kernel now, so to speak. */
  running = 0
  runningMost = 0
  /** Every call that was begun, in order. */
  readonly calls: Call[] = []
  #gate: Gate | undefined
  #hangs: (call: Call) => boolean = () => true

  constructor(below: Disk = nodeDisk) {
    this.disk = hooked(async (call, proceed) => {
      this.calls.push(call)
      this.running += 1
      this.runningMost = Math.max(this.running, this.runningMost)
      try {
        if (this.#gate && this.#hangs(call)) await this.#gate.opened
        return await proceed()
      } finally {
        this.running -= 1
      }
    }, below)
  }

  /** From now on what begins waits; with `which`, only those calls. */
  hang(which: (call: Call) => boolean = () => true): void {
    this.#gate = new Gate()
    this.#hangs = which
  }

  /** What hangs goes on, and nothing hangs any more. */
  release(): void {
    this.#gate?.open()
    this.#gate = undefined
  }

  count(verb: Call['verb']): number {
    return this.calls.filter((call) => call.verb === verb).length
  }
}
