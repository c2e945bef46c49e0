// The NFS server of the guest, by hand: stopped and started as in an outage, with the versions that a
// test wants.

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { writeFileSync } from 'node:fs'

const folder = '/proc/fs/nfsd'
const all = ['3', '4.2', '4.1', '4.0']

// Begun before this process has files open on NFS: a process that is made during an outage first
// closes its copies of them, which waits for the server.
const shell = spawn('bash', ['-c', 'while read; do rpc.nfsd 4; echo $?; done'], {
  stdio: ['pipe', 'pipe', 'inherit'],
})
shell.unref()
shell.stdin.unref()
shell.stdout.unref()

/** From now on nobody answers; calls of clients with `hard` wait. */
export function stopNfsServer() {
  writeFileSync(`${folder}/threads`, '0\n')
}

/** Serves again, or for the first time with just these versions. */
export async function startNfsServer(versions = all) {
  const served = [versions.some((each) => each.startsWith('4')) ? '+4' : '-4']
  for (const each of all) served.push(`${versions.includes(each) ? '+' : '-'}${each}`)
  writeFileSync(`${folder}/versions`, `${served.join(' ')}\n`)
  shell.stdin.write('\n')
  shell.stdout.ref()
  const [answer] = await once(shell.stdout, 'data')
  shell.stdout.unref()
  if (String(answer).trim() !== '0') throw new Error(`rpc.nfsd ended with ${answer}.`)
}
