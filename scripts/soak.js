// `pnpm soak 2000`: kills the server that many times under load, and checks what each kill leaves
// (e2e/crash.test.js). SEED repeats the choices of a run.

import { spawnSync } from 'node:child_process'
import { join } from 'node:path'
import { prepare, root } from './install.js'

const rounds = Number(process.argv[2] ?? 1000)
if (!Number.isSafeInteger(rounds) || rounds < 1) {
  process.stderr.write(`"${process.argv[2]}" is no number of rounds. Example: pnpm soak 2000\n`)
  process.exit(2)
}
prepare()
const roundTimeoutMs = 10_000
const result = spawnSync(
  process.execPath,
  [join(root, 'scripts/test.js'), join(root, 'e2e/crash.test.js')],
  {
    stdio: 'inherit',
    env: {
      ...process.env,
      CRASH_ROUNDS: String(rounds),
      TEST_TIMEOUT_MS: String(60_000 + roundTimeoutMs * rounds),
    },
  },
)
process.exitCode = result.status ?? 1
