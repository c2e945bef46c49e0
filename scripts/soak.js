// The tests that kill servers, for as long as one likes. SEED repeats the choices of a run.

import { spawnSync } from 'node:child_process'
import { join } from 'node:path'
import { prepare, root } from './install.js'

const help = `pnpm soak [ROUNDS] [local|s3|nfs]      kills a server ROUNDS times (1000) under load, and
                                       checks what each death leaves: on a folder, on a bucket of
                                       a Ceph that is started for it, or on an NFS mount in a guest
pnpm soak [SECONDS] replicas [local|s3|nfs]
                                       lets four servers over one store be used by many clients and
                                       killed now and then, for that long (1000)

SEED=N repeats the choices of a run. s3 and nfs, as root, need the Debian packages that .ci/run installs.
`
/** What each takes: its file, the variable for its length, and the seconds that one of those may take. */
const kinds = {
  local: { file: 'crash.test.js', variable: 'CRASH_ROUNDS', seconds: 10 },
  s3: { file: 'crash-s3.test.js', variable: 'S3_CRASH_ROUNDS', seconds: 20 },
  nfs: { file: 'crash-nfs.test.js', variable: 'NFS_CRASH_ROUNDS', seconds: 40 },
  'replicas local': { file: 'replicas.test.js', variable: 'REPLICA_SECONDS', seconds: 2 },
  'replicas s3': { file: 'replicas-s3.test.js', variable: 'REPLICA_SECONDS', seconds: 2 },
  'replicas nfs': { file: 'replicas-nfs.test.js', variable: 'REPLICA_SECONDS', seconds: 2 },
}

const given = process.argv.slice(2)
if (given.includes('--help') || given.includes('-h')) {
  process.stdout.write(help)
  process.exit(0)
}
const numbers = given.filter((word) => /^[0-9]/.test(word))
const words = given.filter((word) => !/^[0-9]/.test(word)).toSorted((a, b) => (a < b ? 1 : -1))
const name = words.join(' ') === 'replicas' ? 'replicas local' : words.join(' ') || 'local'
const kind = kinds[name]
const length = Number(numbers[0] ?? 1000)
if (kind === undefined || numbers.length > 1 || !Number.isSafeInteger(length) || length < 1) {
  process.stderr.write(
    `"${given.join(' ')}" is not understood. Example: pnpm soak 2000 s3\n\n${help}`,
  )
  process.exit(2)
}
prepare()
const result = spawnSync(
  process.execPath,
  [join(root, 'scripts/test.js'), join(root, 'e2e', kind.file)],
  {
    stdio: 'inherit',
    env: {
      ...process.env,
      [kind.variable]: String(length),
      TEST_TIMEOUT_MS: String(600_000 + 1000 * kind.seconds * length),
    },
  },
)
process.exitCode = result.status ?? 1
