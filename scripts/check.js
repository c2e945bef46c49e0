// `npm run check`: what a review should not have to look for. Each check is quiet when it is content.

import { readFileSync } from 'node:fs'
import { execFileSync } from 'node:child_process'
import { join } from 'node:path'
import { binary, prepare, root, run } from './install.js'

const linesMax = 300

prepare()

const checks = {
  types: () => run(binary('tsc'), ['-b']),
  lint: () => run(binary('oxlint'), ['--type-aware', '--deny-warnings']),
  format: () => run(binary('oxfmt'), ['--check']),
  'file length': longFiles,
}

let failed = 0
for (const [name, check] of Object.entries(checks)) {
  const failure = check()
  process.stdout.write(`${failure === undefined ? 'ok  ' : 'FAIL'} ${name}\n`)
  if (failure !== undefined) {
    failed += 1
    process.stdout.write(`${failure.trim()}\n`)
  }
}
process.exitCode = failed > 0 ? 1 : 0

function longFiles() {
  // Also what is not yet committed, but nothing that git ignores.
  const list = execFileSync('git', ['ls-files', '-co', '--exclude-standard'], { cwd: root })
  const tooLong = list
    .toString()
    .split('\n')
    .filter((file) => /\.(ts|js|cjs|mjs)$/.test(file))
    .map((file) => ({ file, lines: countLines(join(root, file)) }))
    .filter(({ lines }) => lines > linesMax)
    .map(({ file, lines }) => `${file} has ${lines} lines, at most ${linesMax} are expected.`)
  return tooLong.length > 0 ? tooLong.join('\n') : undefined
}

function countLines(path) {
  try {
    return readFileSync(path, 'utf8').split('\n').length - 1
  } catch (error) {
    // Deleted, and not yet told to git.
    if (error.code === 'ENOENT') return 0
    throw error
  }
}
