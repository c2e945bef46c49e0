// A large image from curl to a durable 201, by PUT and as a form, against sha512sum of the same file:
// the digest that every image needs is the floor under the time of an upload.

import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { atMost, figure, inTurns, seconds } from './figure.js'
import { makeRandomFile, run, timed, warm } from './program.js'
import { removeImage, startServer, uploadBy } from './server.js'

export const tools = ['curl', 'sha512sum', 'dd', 'cat']
export const diskBytes = 5 * 2 ** 30

const fileMebibytes = 2048

export async function measure({ folder, scale, rounds, say }) {
  mkdirSync(folder)
  const file = join(folder, 'input')
  const mebibytes = Math.ceil(fileMebibytes * scale)
  say(`making a random file of ${mebibytes} MiB`)
  await makeRandomFile(file, mebibytes)
  const server = await startServer(join(folder, 'images'))
  let sha512
  const uploadTime = async (args) => {
    await warm(file)
    let image
    const time = await timed(async () => (image = await uploadBy(args)))
    await removeImage(server, image)
    sha512 ??= image.checksums.sha512
    if (image.checksums.sha512 !== sha512) throw new Error('a digest differs: the bytes are wrong')
    return time
  }
  const times = await inTurns({ rounds, say }, seconds, {
    'curl -T': () => uploadTime(['-T', file, `${server.images}/bench-put`]),
    sha512sum: async () => {
      await warm(file)
      return await timed(async () => {
        const [digest] = (await run('sha512sum', [file])).split(' ')
        if (digest !== sha512) throw new Error('a digest differs: the bytes are wrong')
      })
    },
    'curl -F': () => uploadTime(['-F', 'name=bench-form', '-F', `file=@${file}`, server.images]),
  })
  await server.stop()
  const against = { peer: times.sha512sum, peerName: 'sha512sum', show: seconds }
  return [
    figure({
      what: `upload of ${mebibytes} MiB, curl -T`,
      ours: times['curl -T'],
      ...against,
      goal: atMost(1.1),
    }),
    figure({
      what: `upload of ${mebibytes} MiB, curl -F`,
      ours: times['curl -F'],
      ...against,
      goal: atMost(1.3),
    }),
  ]
}
