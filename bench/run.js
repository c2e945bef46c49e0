// `pnpm bench [name…]`: how fast the server is, as ratios against a peer or a limit that were measured
// in the same run. It prints a table and never fails: what to make of a figure is for people.
//
//   BENCH_SCALE   1 is the size of the goals; 0.1 is a quick look that proves nothing
//   BENCH_ROUNDS  how often each side is measured (3)
//   BENCH_NODE_FLAGS  for the server's Node.js, such as --cpu-prof
//   LONGHORN_BIM  the original's binary, for the bench `longhorn`; see longhorn.js
//   BENCH_DIR     where the files go; it should be on the medium that matters (the temporary folder)

import { mkdtempSync, rmSync, statfsSync } from 'node:fs'
import { availableParallelism, tmpdir } from 'node:os'
import { join } from 'node:path'
import { prepare } from '../scripts/install.js'
import * as download from './download.js'
import { formatTable } from './figure.js'
import * as longhorn from './longhorn.js'
import * as many from './many.js'
import * as memory from './memory.js'
import { endAll, packageOfMissing } from './program.js'
import * as s3 from './s3.js'
import * as sparse from './sparse.js'
import * as sync from './sync.js'
import * as upload from './upload.js'

const benches = { upload, sparse, download, memory, many, s3, sync, longhorn }
/** What the kernel calls a file system in memory (statfs(2)). */
const tmpfsMagic = 0x01021994

const scale = positive('BENCH_SCALE', 1)
const rounds = Math.ceil(positive('BENCH_ROUNDS', 3))
const names = chosen(process.argv.slice(2))

prepare()

const folder = mkdtempSync(join(process.env.BENCH_DIR || tmpdir(), 'backing-image-bench-'))
process.on('exit', () => {
  endAll()
  rmSync(folder, { recursive: true, force: true, maxRetries: 5 })
})
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, () => process.exit(130))

const figures = []
for (const name of names) {
  const place = join(folder, name)
  const found = await measure(name, place)
  figures.push(...found.map((figure) => ({ name, ...figure })))
  rmSync(place, { recursive: true, force: true, maxRetries: 5 })
}
const cores = availableParallelism()
process.stdout.write(`\nNode.js ${process.versions.node}, ${cores} cores, scale ${scale}, `)
process.stdout.write(`medians of ${rounds} rounds\n`)
if (scale !== 1) process.stdout.write('The goals are meant for scale 1.\n')
if (statfsSync(folder).type === tmpfsMagic) {
  process.stdout.write(`${folder} is in memory: set BENCH_DIR to a folder on a disk.\n`)
}
process.stdout.write(`\n${formatTable(figures)}`)
// Nothing that a bench left open may keep it alive.
process.exit(0)

/** The figures of one bench; when it can not be measured, the reason in their place. */
async function measure(name, place) {
  const bench = benches[name]
  const missing = packageOfMissing(bench.tools)
  if (missing !== undefined) return [{ what: `not measured: install ${missing}` }]
  const { bavail, bsize } = statfsSync(folder)
  const wantedBytes = bench.diskBytes * scale
  if (bavail * bsize < wantedBytes) {
    const wanted = (wantedBytes / 2 ** 30).toFixed(1)
    return [{ what: `not measured: ${folder} needs ${wanted} GiB free, or set BENCH_DIR` }]
  }
  try {
    return await bench.measure({
      folder: place,
      scale,
      rounds,
      say: (text) => process.stderr.write(`${name}: ${text}\n`),
    })
  } catch (error) {
    process.stderr.write(`${error.stack}\n`)
    return [{ what: `not measured: ${error.message.split('\n')[0]}` }]
  } finally {
    endAll()
  }
}

function chosen(given) {
  const all = Object.keys(benches)
  const unknown = given.find((name) => !all.includes(name))
  if (unknown !== undefined) end(`There is no bench "${unknown}"; there are ${all.join(', ')}.`)
  return given.length > 0 ? given : all
}

function positive(name, usual) {
  const given = process.env[name] || usual
  const value = Number(given)
  if (!(value > 0 && Number.isFinite(value))) {
    end(`${name}: "${given}" was given; a number over 0 is expected.`)
  }
  return value
}

function end(text) {
  process.stderr.write(`${text}\n`)
  process.exit(2)
}
