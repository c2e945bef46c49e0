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

const server = spawn(
  process.execPath,
  // As in the first line of the program.
  [
    '--min-semi-space-size=16',
    join(root, 'packages/server/bin/backing-image-manager.cjs'),
    'serve',
  ],
  { env, stdio: ['ignore', 'inherit', 'inherit', 'ipc'] },
)

// The server takes a signal that comes twice at once, from the terminal and from here, for one.
for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => server.kill(signal))
// The terminal has gone: end as politely as for the others.
process.on('SIGHUP', () => server.kill('SIGTERM'))
// npm runs this through a shell, which dies of a signal without passing it on.
const parent = process.ppid
if (process.env.npm_lifecycle_event === 'start') {
  const watch = setInterval(() => {
    if (process.ppid === parent) return
    clearInterval(watch)
    server.kill('SIGTERM')
  }, 200)
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
