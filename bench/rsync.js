// The peer of syncs: rsync's own daemon on a folder and a port of its own, and what its client says that
// it has moved.

import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { freePort } from './nginx.js'
import { begin, run } from './program.js'

const startTimeoutMs = 10_000

/** Serves what is in `served`; its own files are in `folder`. Resolves when it answers. */
export async function startRsync(folder, served) {
  const port = await freePort()
  const config = join(folder, 'rsyncd.conf')
  writeFileSync(config, configuration(served))
  const args = ['--daemon', '--no-detach', `--config=${config}`, `--port=${port}`]
  const child = begin('rsync', [...args, '--address=127.0.0.1', `--log-file=${config}.log`], {
    stdio: ['ignore', 'ignore', 'inherit'],
  })
  const ended = new Promise((resolve) => {
    child.on('close', resolve)
    child.on('error', resolve)
  })
  const url = `rsync://127.0.0.1:${port}/files`
  const giveUpAtMs = performance.now() + startTimeoutMs
  while (!(await answers(url))) {
    if (child.exitCode !== null || performance.now() > giveUpAtMs) {
      throw new Error(`rsync did not start, see ${config}.log`)
    }
    await delay(20)
  }
  const stop = async () => {
    child.kill('SIGTERM')
    await ended
  }
  return { url, stop }
}

/** Brings `target` up to date with a served file; resolves with how many bytes passed. */
export async function rsyncTo(daemon, name, target) {
  // Whatever the times of the files say.
  const output = await run('rsync', ['--stats', '--ignore-times', `${daemon.url}/${name}`, target])
  const count = (what) => {
    const [, digits] = new RegExp(`^Total bytes ${what}: ([0-9,]+)$`, 'm').exec(output) ?? []
    if (digits === undefined) throw new Error(`rsync did not say what was ${what}: ${output}`)
    return Number(digits.replaceAll(',', ''))
  }
  return count('sent') + count('received')
}

async function answers(url) {
  return await run('rsync', [url]).then(
    () => true,
    () => false,
  )
}

function configuration(served) {
  return [
    'use chroot = no',
    // It becomes nobody otherwise, who may not look into our folder.
    ...(process.getuid() === 0 ? ['uid = 0', 'gid = 0'] : []),
    '[files]',
    `path = ${served}`,
    'read only = yes',
    '',
  ].join('\n')
}
