// The strict test runner. Stock uvu exits 0 when a file forgets `.run()`, a pattern matches nothing,
// a `before` hook throws, or a test throws a string; this one does not. It runs each file's suites
// under a watchdog and ends with `N passed, N failed, N skipped` alone on a line. Several files have a
// process each, two at a time: most of them mostly wait.
//
//   node scripts/test.js PATH...     compiled test files, or folders that hold some

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readdirSync, statSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { setImmediate } from 'node:timers/promises'
import { fileURLToPath, pathToFileURL } from 'node:url'

// uvu looks at this when it is loaded: suites are then queued here instead of run by themselves.
globalThis.UVU_DEFER = 1
const suiteTimeoutMs = Number(process.env.TEST_TIMEOUT_MS || 240_000)
const lanes = Number(process.env.TEST_LANES || 2)

function testFiles(path) {
  if (!statSync(path).isDirectory()) return [path]
  return readdirSync(path, { withFileTypes: true })
    .flatMap((entry) => {
      const child = join(path, entry.name)
      // Symbolic links are not followed: a workspace links its packages to each other.
      if (entry.isDirectory()) return entry.name === 'node_modules' ? [] : testFiles(child)
      return entry.isFile() && entry.name.endsWith('.test.js') ? [child] : []
    })
    .toSorted((a, b) => (a < b ? -1 : 1))
}

async function within(timeoutMs, work, what) {
  let timer
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${what} took over ${timeoutMs} ms`)), timeoutMs)
  })
  try {
    return await Promise.race([work, late])
  } finally {
    clearTimeout(timer)
  }
}

const totals = { passed: 0, failed: 0, skipped: 0 }

async function runFile(file) {
  // uvu must be loaded, and have seen UVU_DEFER, before the test file loads it.
  await import('uvu')
  const index = globalThis.UVU_QUEUE.push([null]) - 1
  globalThis.UVU_INDEX = index
  await import(pathToFileURL(resolve(file)).href)
  const suites = globalThis.UVU_QUEUE[index].slice(1)
  if (suites.length === 0) throw new Error('no suite was queued: is `.run()` missing?')
  for (const run of suites) {
    const [errors, ran, skipped, total] = await within(suiteTimeoutMs, run(), file)
    process.stdout.write('\n')
    const failed = total - ran
    totals.passed += ran
    totals.skipped += skipped
    totals.failed += failed
    // uvu gives `true` for "no text": also where a hook, or a string that was thrown, ended the run.
    if (failed > 0) process.stdout.write(`FAIL ${file}\n${errors === true ? '' : errors}\n`)
    if (total === 0) throw new Error('a suite without tests')
  }
}

async function runHere(file) {
  const startedAt = performance.now()
  process.stdout.write(`${file} `)
  try {
    await runFile(file)
  } catch (error) {
    totals.failed += 1
    process.stdout.write(`FAIL ${file}: ${error?.stack ?? error}\n`)
  }
  const seconds = (performance.now() - startedAt) / 1000
  if (seconds > 5) process.stdout.write(`  ${seconds.toFixed(1)} s\n`)
}

/** Takes files from `waiting`, which others share, and runs each in a process of its own. */
async function runEach(waiting) {
  for (const file of waiting) {
    const { output, code } = await runApart(file)
    const [, text, passed, failed, skipped] = output.match(totalsOf) ?? [undefined, output, 0, 0, 0]
    totals.passed += Number(passed)
    totals.skipped += Number(skipped)
    totals.failed += Number(failed)
    process.stdout.write(text)
    if (code === 0 || Number(failed) > 0) continue
    totals.failed += 1
    process.stdout.write(`FAIL ${file}: its process ended with ${code}\n`)
  }
}

const totalsOf = /^(.*)\n(\d+) passed, (\d+) failed, (\d+) skipped\n$/s

async function runApart(file) {
  const args = [...process.execArgv, fileURLToPath(import.meta.url), file]
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] })
  let output = ''
  child.stdout.setEncoding('utf8')
  child.stdout.on('data', (text) => (output += text))
  // A process that a test has left running must not keep the run alive.
  child.on('exit', () => setTimeout(() => child.stdout.destroy(), 1000).unref())
  const [code, signal] = await once(child, 'close')
  return { output, code: code ?? signal }
}

const files = [...new Set(process.argv.slice(2).flatMap(testFiles))]
if (files.length === 0) {
  process.stdout.write('No test files found.\n')
  totals.failed += 1
}
for (const event of ['unhandledRejection', 'uncaughtException']) {
  process.on(event, (error) => {
    totals.failed += 1
    process.stdout.write(`FAIL ${event}: ${error?.stack ?? error}\n`)
  })
}
let isDone = false
// A test that calls process.exit(0) must not make a run look good that it has cut short.
process.on('exit', () => {
  if (isDone) return
  totals.failed += 1
  process.stdout.write('FAIL the process was ended before the tests were\n')
  end()
})
if (files.length > 1) {
  const waiting = files.values()
  await Promise.all(Array.from({ length: lanes }, () => runEach(waiting)))
} else {
  for (const file of files) await runHere(file)
}
// What a test left running may still reject: one turn for that.
await setImmediate()
isDone = true
end()

function end() {
  process.stdout.write(
    `\n${totals.passed} passed, ${totals.failed} failed, ${totals.skipped} skipped\n`,
  )
  // A listener that a test left open must not keep the run alive.
  process.exit(totals.failed > 0 ? 1 : 0)
}
