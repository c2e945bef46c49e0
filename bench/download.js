// A large image to one curl, and to eight at once, against nginx with sendfile on the very same file.

import { mkdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { atLeast, figure, inTurns, mebibytesPerSecond } from './figure.js'
import { startNginx } from './nginx.js'
import { makeRandomFile, run, timed, warm } from './program.js'
import { folderOf, startServer, uploadBy } from './server.js'

export const tools = ['curl', 'nginx', 'dd', 'cat']
export const diskBytes = 5 * 2 ** 30

const fileMebibytes = 2048
const clients = 8

export async function measure({ folder, scale, rounds, say }) {
  mkdirSync(folder)
  const input = join(folder, 'input')
  const mebibytes = Math.ceil(fileMebibytes * scale)
  const bytes = mebibytes * 2 ** 20
  say(`making and storing a random file of ${mebibytes} MiB`)
  await makeRandomFile(input, mebibytes)
  const server = await startServer(join(folder, 'images'))
  const image = await uploadBy(['-T', input, `${server.images}/bench-download`])
  rmSync(input)
  const nginx = await startNginx(join(folder, 'nginx'), folderOf(server, image))
  const file = join(folderOf(server, image), 'backing')
  // In bytes per second, of all clients together.
  const speed = async (url, count) => {
    await warm(file)
    const time = await timed(() => Promise.all(Array.from({ length: count }, () => fetchAll(url))))
    return (bytes * count) / time
  }
  const fetchAll = async (url) => {
    const args = ['-sS', '-f', '-o', '/dev/null', '-w', '%{size_download}', url]
    const got = Number(await run('curl', args))
    if (got !== bytes) throw new Error(`${url} gave ${got} bytes of ${bytes}`)
  }
  const ours = image.links.download
  const peer = `${nginx.url}/backing`
  const found = await inTurns({ rounds, say }, mebibytesPerSecond, {
    'one client, ours': () => speed(ours, 1),
    'one client, nginx': () => speed(peer, 1),
    'eight clients, ours': () => speed(ours, clients),
    'eight clients, nginx': () => speed(peer, clients),
  })
  await nginx.stop()
  await server.stop()
  const against = { peerName: 'nginx', show: mebibytesPerSecond }
  return [
    figure({
      what: `download of ${mebibytes} MiB, 1 curl`,
      ours: found['one client, ours'],
      peer: found['one client, nginx'],
      ...against,
      goal: atLeast(0.9),
    }),
    figure({
      what: `download of ${mebibytes} MiB, ${clients} curls at once`,
      ours: found['eight clients, ours'],
      peer: found['eight clients, nginx'],
      ...against,
      goal: atLeast(0.5),
    }),
  ]
}
