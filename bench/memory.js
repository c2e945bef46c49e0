// What sixteen uploads at once take of memory. Each sends another window of one random file, so that
// a byte that strays from one stream into another is seen; and the stored files are compared.

import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { figure, mebibytes, under } from './figure.js'
import { makeRandomFile, run } from './program.js'
import { folderOf, parseStored, residentBytes, startServer, uploadFlags } from './server.js'

export const tools = ['curl', 'sha512sum', 'dd', 'cmp']
export const diskBytes = 18 * 2 ** 30

const uploads = 16
const imageMebibytes = 1024
const residentMaxMebibytes = 250
const sampleEveryMs = 50

/** Sends `$3` MiB of the file `$1`, from MiB `$2` on, by curl with the other arguments. */
const sendWindow =
  'dd if="$1" bs=1M skip="$2" count="$3" status=none | { shift 3; curl -T - "$@"; }'
const hashWindow = 'dd if="$1" bs=1M skip="$2" count="$3" status=none | sha512sum'

export async function measure({ folder, scale, say }) {
  mkdirSync(folder)
  const input = join(folder, 'input')
  const size = Math.ceil(imageMebibytes * scale)
  say(`making ${uploads} images of ${size} MiB and their digests`)
  await makeRandomFile(input, size + uploads)
  const windows = Array.from({ length: uploads }, (_, index) => [input, `${index}`, `${size}`])
  const digests = []
  for (const window of windows) {
    const [digest] = (await run('sh', ['-c', hashWindow, 'sh', ...window])).split(' ')
    digests.push(digest)
  }
  const server = await startServer(join(folder, 'images'), { MAX_CONCURRENT_INGESTS: `${uploads}` })
  const atRest = residentBytes(server.pid)
  let sampled = 0
  const sampling = setInterval(() => {
    sampled = Math.max(sampled, residentBytes(server.pid).now)
  }, sampleEveryMs)
  say(`uploading all at once; at rest the server has ${mebibytes(atRest.now)} resident`)
  let images
  try {
    images = await Promise.all(
      windows.map(async (window, index) => {
        const url = `${server.images}/bench-${index}?size=${size * 2 ** 20}`
        const args = ['-c', sendWindow, 'sh', ...window, ...uploadFlags, url]
        return parseStored(await run('sh', args))
      }),
    )
  } finally {
    clearInterval(sampling)
  }
  const { peak } = residentBytes(server.pid)
  say('comparing what was stored')
  const wrong = await countWrong(server, { images, digests, input, size })
  await server.stop()
  const limit = {
    peer: residentMaxMebibytes * 2 ** 20,
    peerName: 'limit',
    show: mebibytes,
    goal: under(1),
  }
  return [
    figure({ what: `${uploads} uploads of ${size} MiB at once, peak VmHWM`, ours: peak, ...limit }),
    figure({ what: 'the same, highest sampled VmRSS', ours: sampled, ...limit }),
    figure({
      what: 'the same, images that are right',
      ours: uploads - wrong,
      peer: uploads,
      peerName: 'sent',
      show: String,
      goal: { text: '= 1', isMet: (ratio) => ratio === 1 },
    }),
  ]
}

/** How many images have another digest than was sent, or other bytes on the disk. */
async function countWrong(server, { images, digests, input, size }) {
  let wrong = 0
  for (const [index, image] of images.entries()) {
    const stored = join(folderOf(server, image), 'backing')
    const bytes = size * 2 ** 20
    const args = [`--bytes=${bytes}`, `--ignore-initial=${index * 2 ** 20}:0`, input, stored]
    const isSame = await run('cmp', args).then(
      () => true,
      () => false,
    )
    if (!isSame || image.size !== bytes || image.checksums.sha512 !== digests[index]) wrong += 1
  }
  return wrong
}
