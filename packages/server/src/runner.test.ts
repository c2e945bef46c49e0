// The test runner itself: what stock uvu lets pass must fail, and the totals are the last line.

import { spawnSync } from 'node:child_process'
import { copyFileSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'

const runner = suite('runner')
const folder = mkdtempSync(join(tmpdir(), 'runner-'))
const script = fileURLToPath(new URL('../../../scripts/test.js', import.meta.url))

runner.after(() => rmSync(folder, { recursive: true }))

interface Outcome {
  status: number | null
  totals: string
  output: string
}

/** Runs the lines of a test file in which `t` is a suite; the caller runs it. */
function run(lines: string): Outcome {
  const path = join(folder, 'case.test.js')
  const uvu = JSON.stringify(import.meta.resolve('uvu'))
  writeFileSync(path, `import { suite } from ${uvu}\nconst t = suite('t')\n${lines}\n`)
  return start(path)
}

function start(...paths: string[]): Outcome {
  const { status, stdout } = spawnSync(process.execPath, [script, ...paths], {
    encoding: 'utf8',
    timeout: 20_000,
    env: { ...process.env, TEST_TIMEOUT_MS: '500' },
  })
  return { status, totals: stdout.trimEnd().split('\n').at(-1) ?? '', output: stdout }
}

function assertOutcome(outcome: Outcome, status: number, totals: string): void {
  assert.is(outcome.totals, totals, outcome.output)
  assert.is(outcome.status, status, outcome.output)
}

runner('good tests pass, and the totals are the last line', () => {
  const outcome = run(`t('a', () => {}); t('b', async () => {}); t.skip('c', () => {}); t.run()`)
  assertOutcome(outcome, 0, '2 passed, 0 failed, 1 skipped')
})

runner('a failing test fails and shows its error', () => {
  const outcome = run(`t('a', () => { throw new Error('seen') }); t('b', () => {}); t.run()`)
  assertOutcome(outcome, 1, '1 passed, 1 failed, 0 skipped')
  assert.match(outcome.output, 'seen')
})

runner('a suite without run() fails', () => {
  assertOutcome(run(`t('a', () => {})`), 1, '0 passed, 1 failed, 0 skipped')
})

runner('a suite without tests fails', () => {
  assertOutcome(run('t.run()'), 1, '0 passed, 1 failed, 0 skipped')
})

runner('no files fail', () => {
  assertOutcome(start(), 1, '0 passed, 1 failed, 0 skipped')
})

runner('a before hook that throws fails every test that did not run', () => {
  const outcome = run(
    `t.before(() => { throw new Error('no') }); t('a', () => {}); t('b', () => {}); t.run()`,
  )
  assertOutcome(outcome, 1, '0 passed, 2 failed, 0 skipped')
})

runner('a string that is thrown fails', () => {
  assertOutcome(run(`t('a', () => { throw 'no' }); t.run()`), 1, '0 passed, 1 failed, 0 skipped')
})

runner('a promise that is rejected with nobody listening fails', () => {
  const outcome = run(`t('a', () => { void Promise.reject(new Error('lost')) }); t.run()`)
  assertOutcome(outcome, 1, '1 passed, 1 failed, 0 skipped')
  assert.match(outcome.output, 'lost')
})

runner('an error thrown in a callback fails', () => {
  const outcome = run(
    `t('a', async () => { setTimeout(() => { throw new Error('late') }); await new Promise((done) => setTimeout(done, 20)) }); t.run()`,
  )
  assertOutcome(outcome, 1, '1 passed, 1 failed, 0 skipped')
  assert.match(outcome.output, 'late')
})

runner(
  'a test that never resolves is ended by the watchdog, with or without something pending',
  () => {
    for (const pending of ['', 'setInterval(() => {}, 1000);']) {
      const outcome = run(`t('a', () => { ${pending} return new Promise(() => {}) }); t.run()`)
      assertOutcome(outcome, 1, '0 passed, 1 failed, 0 skipped')
      assert.match(outcome.output, '500 ms')
    }
  },
)

runner('a listener left open does not keep the run alive', () => {
  const outcome = run(
    `import net from 'node:net'; t('a', () => { net.createServer().listen(0) }); t.run()`,
  )
  assertOutcome(outcome, 0, '1 passed, 0 failed, 0 skipped')
})

runner('a test that ends the process fails', () => {
  const outcome = run(`t('a', () => { process.exit(0) }); t('b', () => {}); t.run()`)
  assertOutcome(outcome, 1, '0 passed, 1 failed, 0 skipped')
})

runner('a file that can not be loaded fails, and the next one still runs', () => {
  const broken = join(folder, 'broken.test.js')
  writeFileSync(broken, 'throw new Error("broken")')
  run(`t('a', () => {}); t.run()`)
  const outcome = start(broken, join(folder, 'case.test.js'))
  assertOutcome(outcome, 1, '1 passed, 1 failed, 0 skipped')
})

runner('of several files each has a process of its own, and one that is killed fails', () => {
  const killed = join(folder, 'killed.test.js')
  writeFileSync(killed, 'globalThis.isShared = true; process.kill(process.pid, "SIGKILL")')
  run(`t('a', () => { if (globalThis.isShared) throw new Error('no') }); t.run()`)
  const outcome = start(killed, join(folder, 'case.test.js'))
  assertOutcome(outcome, 1, '1 passed, 1 failed, 0 skipped')
  assert.match(outcome.output, 'killed.test.js: its process ended with SIGKILL')
})

runner('a process that a test has left running does not keep the run alive', () => {
  run(
    `import { spawn } from 'node:child_process'; t('a', () => {
      spawn('sleep', ['9'], { stdio: ['ignore', 'inherit', 'ignore'] }).unref() }); t.run()`,
  )
  const again = join(folder, 'again.test.js')
  copyFileSync(join(folder, 'case.test.js'), again)
  const startedAt = performance.now()
  assertOutcome(start(again, join(folder, 'case.test.js')), 0, '2 passed, 0 failed, 0 skipped')
  assert.ok(performance.now() - startedAt < 8000)
})

runner.run()
