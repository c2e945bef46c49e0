// A disk that is mostly holes: the time of its upload against openssl's for its digest, and what it
// takes on the disk afterwards.

import { closeSync, fsyncSync, ftruncateSync, mkdirSync, openSync, writeSync } from 'node:fs'
import { randomBytes } from 'node:crypto'
import { join } from 'node:path'
import { atMost, figure, inTurns, mebibytes, seconds, under } from './figure.js'
import { run, timed, warm } from './program.js'
import { folderOf, removeImage, startServer, uploadBy } from './server.js'

export const tools = ['curl', 'openssl', 'du', 'cat']
export const diskBytes = 2 ** 30

const sizeMebibytes = 8192
const dataMebibytes = 256
const onDiskMaxMebibytes = 300

export async function measure({ folder, scale, rounds, say }) {
  mkdirSync(folder)
  const file = join(folder, 'input')
  makeSparseFile(file, Math.ceil(dataMebibytes * scale), sizeMebibytes / dataMebibytes)
  const server = await startServer(join(folder, 'images'))
  let onDiskBytes = 0
  let sha512
  const times = await inTurns({ rounds, say }, seconds, {
    'curl -T': async () => {
      await warm(file)
      let image
      const args = ['-T', file, `${server.images}/bench-sparse`]
      const time = await timed(async () => (image = await uploadBy(args)))
      const [used] = (await run('du', ['-s', '-B1', folderOf(server, image)])).split('\t')
      onDiskBytes = Math.max(onDiskBytes, Number(used))
      sha512 = image.checksums.sha512
      await removeImage(server, image)
      return time
    },
    openssl: async () => {
      await warm(file)
      return await timed(async () => {
        const output = await run('openssl', ['dgst', '-sha512', file])
        if (!output.includes(sha512)) throw new Error('a digest differs: the bytes are wrong')
      })
    },
  })
  await server.stop()
  const size = `${Math.ceil(dataMebibytes * scale) * (sizeMebibytes / dataMebibytes)} MiB`
  return [
    figure({
      what: `upload of ${size}, 1 in 32 of it data`,
      ours: times['curl -T'],
      peer: times.openssl,
      peerName: 'openssl dgst -sha512',
      show: seconds,
      goal: atMost(1.2),
    }),
    figure({
      what: 'the same on the disk',
      ours: onDiskBytes,
      peer: onDiskMaxMebibytes * scale * 2 ** 20,
      peerName: 'limit',
      show: mebibytes,
      goal: under(1),
    }),
  ]
}

/** `pieces` MiB of data, each at the start of a stretch of `stretch` MiB that is a hole otherwise. */
function makeSparseFile(file, pieces, stretch) {
  const descriptor = openSync(file, 'w')
  ftruncateSync(descriptor, pieces * stretch * 2 ** 20)
  for (let piece = 0; piece < pieces; piece += 1) {
    writeSync(descriptor, randomBytes(2 ** 20), 0, 2 ** 20, piece * stretch * 2 ** 20)
  }
  fsyncSync(descriptor)
  closeSync(descriptor)
}
