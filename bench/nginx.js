// The peer of downloads: Debian's nginx with sendfile and as it comes, on a folder and a port of its
// own.

import { once } from 'node:events'
import { mkdirSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { begin } from './program.js'

const startTimeoutMs = 10_000

/**
 * Serves what is in `served`; its own files are in `folder`. Resolves when it answers. `isSingle` has one
 * process do it all: workers outlive a master that is killed.
 */
export async function startNginx(folder, served, { isSingle = false } = {}) {
  mkdirSync(folder)
  const port = await freePort()
  const config = join(folder, 'nginx.conf')
  writeFileSync(config, configuration(folder, served, port, isSingle))
  const child = begin('nginx', ['-p', folder, '-c', config, '-e', join(folder, 'error.log')], {
    stdio: ['ignore', 'ignore', 'inherit'],
  })
  const ended = new Promise((resolve) => {
    child.on('close', resolve)
    child.on('error', resolve)
  })
  const url = `http://127.0.0.1:${port}`
  const giveUpAtMs = performance.now() + startTimeoutMs
  while (!(await answers(url))) {
    if (child.exitCode !== null || performance.now() > giveUpAtMs) {
      throw new Error(`nginx did not start, see its log in ${folder}`)
    }
    await delay(20)
  }
  const stop = async () => {
    child.kill('SIGTERM')
    await ended
  }
  return { url, stop }
}

async function answers(url) {
  try {
    await (await fetch(url)).arrayBuffer()
    return true
  } catch {
    return false
  }
}

/** A port that nobody had a moment ago. */
export async function freePort() {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address()
  server.close()
  await once(server, 'close')
  return port
}

/** The values of Debian's nginx.conf where there is a choice; nothing outside of `folder`. */
function configuration(folder, served, port, isSingle) {
  const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi']
  return [
    // Its workers change to another user otherwise, who may not look into our folder.
    process.getuid() === 0 ? 'user root;' : '',
    isSingle ? 'master_process off;' : 'worker_processes auto;',
    'daemon off;',
    `pid ${join(folder, 'nginx.pid')};`,
    'events { worker_connections 768; }',
    'http {',
    '  sendfile on;',
    '  tcp_nopush on;',
    '  access_log off;',
    ...temporary.map((each) => `  ${each}_temp_path ${join(folder, each)};`),
    `  server { listen 127.0.0.1:${port}; root ${served}; }`,
    '}',
    '',
  ].join('\n')
}
