// A large image through the server to a bucket of a real Ceph and back, against the same client code
// without the server in between, against lib-storage and against rclone; and what eight uploads at once
// take of memory.

import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { startCeph } from '../e2e/servers/ceph.js'
import { root } from '../scripts/install.js'
import { atLeast, figure, inTurns, mebibytes, seconds, under } from './figure.js'
import { begin, makeRandomFile, run, timed, warm } from './program.js'
import { parseStored, removeImage, residentBytes, startServer, uploadFlags } from './server.js'

export const tools = ['curl', 'dd', 'cat', 'rclone', 'ceph-mon', 'ceph-osd', 'radosgw']
export const diskBytes = 2 * 2 ** 30

const fileMebibytes = 1024
const uploads = 8
const uploadMebibytes = 256
const residentMaxMebibytes = 300
const port = 9790
/** What was deleted or replaced is taken away then, and must not be while something is measured. */
const garbageSeconds = 2
/** As backend-s3 has them, for rclone. */
const partBytes = '8M'
const partsAtOnce = '3'

export async function measure({ folder, scale, rounds, say }) {
  mkdirSync(folder)
  const input = join(folder, 'input')
  const size = Math.ceil(fileMebibytes * scale)
  say(`making a random file of ${size} MiB, and starting Ceph`)
  await makeRandomFile(input, size)
  const ceph = await startCeph({ port, folder: join(folder, 'ceph'), garbageSeconds })
  try {
    const bucket = { ...ceph, bucket: 'bench' }
    const direct = await startDirect(bucket)
    await direct.ask('make')
    const server = await startServer(join(folder, 'none'), environmentOf(bucket))
    const speeds = await speedFigures({ input, size, server, direct, bucket }, { rounds, say })
    const resident = await memoryFigures({ input, scale, server }, say)
    await server.stop()
    direct.stop()
    return [...speeds, ...resident]
  } finally {
    await ceph.stop()
  }
}

async function speedFigures({ input, size, server, direct, bucket }, options) {
  const copy = join(input, '..', 'copy')
  const uploaded = async () => {
    const output = await run('curl', [...uploadFlags, '-T', input, `${server.images}/bench`])
    return parseStored(output)
  }
  let image
  const ready = async () => {
    await warm(input)
    await delay(3000 * garbageSeconds)
  }
  const times = await inTurns(options, seconds, {
    'up, ours': async () => {
      if (image) await removeImage(server, image)
      await ready()
      return await timed(async () => (image = await uploaded()))
    },
    'up, direct': async () => {
      await ready()
      return await timed(() => direct.ask('up', input))
    },
    'up, lib-storage': async () => {
      await ready()
      return await timed(() => direct.ask('up by lib-storage', input))
    },
    'up, rclone': async () => {
      await ready()
      return await timed(() =>
        run('rclone', [...rcloneFlags(bucket), 'copyto', input, ':s3:bench/rclone']),
      )
    },
    'down, ours': async () => {
      await ready()
      return await timed(() => run('curl', ['-sS', '-f', '-o', copy, image.links.download]))
    },
    'down, direct': async () => {
      await ready()
      return await timed(() => direct.ask('down', copy))
    },
  })
  await run('cmp', [input, copy])
  const against = { show: seconds }
  // Of times the smaller is the faster: a speed's ratio is the other way round.
  return [
    figure({
      what: `upload of ${size} MiB to Ceph, speed`,
      ours: times['up, direct'],
      peer: times['up, ours'],
      peerName: 'through the server',
      ...against,
      goal: atLeast(0.9),
    }),
    figure({
      what: 'the same against Upload of lib-storage without a server, speed',
      ours: times['up, lib-storage'],
      peer: times['up, ours'],
      peerName: 'through the server',
      ...against,
    }),
    figure({
      what: 'the same against rclone, speed',
      ours: times['up, rclone'],
      peer: times['up, ours'],
      peerName: 'through the server',
      ...against,
      goal: atLeast(1.3),
    }),
    figure({
      what: `download of ${size} MiB from Ceph, speed`,
      ours: times['down, direct'],
      peer: times['down, ours'],
      peerName: 'through the server',
      ...against,
      goal: atLeast(0.9),
    }),
  ]
}

/** Uploads of unknown size, so that nobody can plan the parts. */
async function memoryFigures({ input, scale, server }, say) {
  const size = Math.ceil(uploadMebibytes * scale)
  say(`${uploads} uploads of ${size} MiB of unknown size at once`)
  const send = 'dd if="$1" bs=1M count="$2" status=none | { shift 2; curl -T - "$@"; }'
  await Promise.all(
    Array.from({ length: uploads }, async (_, index) => {
      const url = `${server.images}/memory-${index}`
      parseStored(await run('sh', ['-c', send, 'sh', input, `${size}`, ...uploadFlags, url]))
    }),
  )
  return [
    figure({
      what: `${uploads} uploads of ${size} MiB of unknown size to Ceph, peak VmHWM`,
      ours: residentBytes(server.pid).peak,
      peer: residentMaxMebibytes * 2 ** 20,
      peerName: 'limit',
      show: mebibytes,
      goal: under(1),
    }),
  ]
}

function environmentOf({ endpoint, accessKey, secretKey, bucket }) {
  return {
    STORAGE_BACKEND_TYPE: 's3',
    S3_ENDPOINT: endpoint,
    S3_ACCESS_KEY: accessKey,
    S3_SECRET_KEY: secretKey,
    S3_BUCKET: bucket,
  }
}

function rcloneFlags({ endpoint, accessKey, secretKey }) {
  return [
    '--config=/dev/null',
    '--s3-provider=Ceph',
    `--s3-endpoint=${endpoint}`,
    `--s3-access-key-id=${accessKey}`,
    `--s3-secret-access-key=${secretKey}`,
    `--s3-chunk-size=${partBytes}`,
    `--s3-upload-concurrency=${partsAtOnce}`,
    // In the rounds after the first it would see that the file is there, and send nothing.
    '--ignore-times',
  ]
}

/** The client code of backend-s3 in a process of its own, which answers one line with another. */
async function startDirect(bucket) {
  // As the server's program has them.
  const flags = ['--min-semi-space-size=16', '--heap-growing-percent=50']
  const child = begin(process.execPath, [...flags, join(root, 'bench/s3-direct.js')], {
    stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
    env: environmentOf(bucket),
  })
  const answer = () =>
    new Promise((resolve, reject) => {
      const onExit = () => reject(new Error('the direct client ended'))
      child.once('exit', onExit)
      child.once('message', ({ error }) => {
        child.off('exit', onExit)
        if (error) reject(new Error(error))
        else resolve()
      })
    })
  await answer()
  const ask = async (what, file) => {
    const answered = answer()
    child.send({ what, file })
    await answered
  }
  return { ask, stop: () => child.kill('SIGTERM') }
}
