// `npm start`: installs, builds and runs the server on this machine only, with its images in ./data
// unless BACKING_IMAGE_STORAGE_PATH says otherwise. The whole environment of the server works here.

import { spawn } from 'node:child_process'
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { prepare, root } from './install.js'

prepare()

const env = { ...process.env }
env.HOST ||= '127.0.0.1'
env.UV_THREADPOOL_SIZE ||= '16'
if (!env.BACKING_IMAGE_STORAGE_PATH) {
  env.BACKING_IMAGE_STORAGE_PATH = join(root, 'data')
  mkdirSync(env.BACKING_IMAGE_STORAGE_PATH, { recursive: true })
}

// A group of its own: Ctrl-C in a terminal goes to a whole group, and npm passes it on as well. The
// server would take the second one for "stop at once".
const server = spawn(
  process.execPath,
  [join(root, 'packages/server/bin/backing-image-manager.cjs'), 'serve'],
  { env, detached: true, stdio: ['ignore', 'inherit', 'inherit', 'ipc'] },
)

const sameSignalMs = 300
let lastSignalAt = -Infinity
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) {
  process.on(signal, () => {
    if (performance.now() - lastSignalAt > sameSignalMs) {
      // Without a terminal there is nobody to see the end: hang up as politely as for SIGTERM.
      server.kill(signal === 'SIGHUP' ? 'SIGTERM' : signal)
    }
    lastSignalAt = performance.now()
  })
}

server.on('message', ({ url }) => {
  const token = env.API_TOKEN || env.API_TOKEN_FILE ? ' -H "Authorization: Bearer $API_TOKEN"' : ''
  process.stdout.write(
    `\nThe server is at ${url}, its images in ${env.BACKING_IMAGE_STORAGE_PATH}. Try:\n\n` +
      `  curl${token} -T image.qcow2 ${url}/v1/backing-images/my-image\n` +
      `  curl${token} ${url}/v1/backing-images\n\n`,
  )
})
server.on('error', (error) => {
  process.stderr.write(`The server could not be started: ${error.message}\n`)
  process.exitCode = 1
})
server.on('exit', (code, signal) => {
  process.exitCode = code ?? (signal === 'SIGINT' ? 130 : 1)
  process.exit()
})
