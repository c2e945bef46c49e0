// Runs in a guest (boot.sh): the server on a disk whose power is cut, again and again, while it is
// under load. What was acknowledged before the cut must be there and whole afterwards.
//
//   node power-cut.js ROUNDS SEED

import { execFileSync } from 'node:child_process'
import { mkdirSync, readFileSync } from 'node:fs'
import { setTimeout as delay } from 'node:timers/promises'
import { between, seeded } from '../durability/bodies.js'
import { leftovers } from '../durability/disk.js'
import { Counts, Load } from '../durability/load.js'
import { Model } from '../durability/model.js'
import { Review } from '../durability/review.js'
import { ServerProcess } from '../durability/server.js'

const [rounds, seed] = process.argv.slice(2).map(Number)
const medium = '/dev/ubda'
const folder = '/mnt/images'
const sectors = Number(readFileSync('/sys/block/ubda/size', 'utf8'))
const random = seeded(seed)
const counts = new Counts()
const model = new Model()
const review = new Review(model, random)
/** As long as a lease of a process whose death nobody can prove, and a little more. */
const leaseTimeoutMs = 60_000
const longestLoadMs = 20_000

/** Always down: writes are dropped and said to have succeeded, or they fail. */
const working = `0 ${sectors} linear ${medium} 0`
const dropping = `0 ${sectors} flakey ${medium} 0 0 86400 1 drop_writes`
const failing = `0 ${sectors} flakey ${medium} 0 0 86400 1 error_writes`

function run(program, ...args) {
  execFileSync(program, args, { env: { ...process.env, DM_DISABLE_UDEV: '1' } })
}

/** Neither flushes nor freezes the file system: what is on its way stays on its way. */
function switchTo(table) {
  run('dmsetup', 'load', 'power', '--table', table)
  run('dmsetup', 'suspend', '--noflush', '--nolockfs', 'power')
  run('dmsetup', 'resume', '--noflush', '--nolockfs', 'power')
}

async function round(number) {
  run('mount', '-t', 'ext4', '/dev/mapper/power', folder)
  const server = new ServerProcess(folder)
  try {
    const url = await server.listening()
    const faults = await review.faults(url, 2)
    if (faults.length > 0) return [...faults, server.log]
    const label = `seed ${seed} ${number}`
    const load = new Load({ url, model, random, counts, label, largestMiB: 2 })
    const running = load.run()
    // However slow the machine is, most cuts come when there is something to lose.
    await load.hasAcknowledged(between(random, 0, 4), longestLoadMs)
    await delay(between(random, 0, 1500))
    load.cut()
    switchTo(number % 4 === 0 ? failing : dropping)
    await delay(between(random, 0, 500))
    load.stop()
    await server.kill()
    await running
    return load.faults
  } finally {
    await server.kill()
    run('umount', folder)
    switchTo(working)
  }
}

/** The work that the cuts have interrupted comes to its end, and leaves nothing. */
async function lastLook() {
  run('mount', '-t', 'ext4', '/dev/mapper/power', folder)
  const server = new ServerProcess(folder)
  const url = await server.listening()
  const faults = await review.faults(url, Infinity)
  const endsAt = performance.now() + leaseTimeoutMs
  while (leftovers(folder).length > 0 && performance.now() < endsAt) await delay(1000)
  faults.push(...leftovers(folder), ...(await review.faults(url, 0)))
  await server.kill()
  return faults
}

async function cuts() {
  mkdirSync(folder, { recursive: true })
  run('dmsetup', 'create', 'power', '--table', working)
  run('mkfs.ext4', '-q', '-E', 'lazy_itable_init=1,lazy_journal_init=1', '/dev/mapper/power')
  for (let number = 1; number <= rounds; number += 1) {
    const faults = await round(number)
    if (faults.length > 0) return [`round ${number}:`, ...faults]
  }
  return await lastLook()
}

const faults = await cuts()
console.log(`  ${counts.toString()}`)
if (!counts.isAcknowledged) faults.push('no upload was acknowledged')
for (const fault of faults) console.log(`  FAULT ${fault}`)
process.exit(faults.length > 0 ? 1 : 0)
