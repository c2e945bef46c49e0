// The files that are moved, and what they cost whoever writes them durably and hashes them after that.

import { createHash, randomBytes } from 'node:crypto'
import { open, rm } from 'node:fs/promises'
import { makeRandomFile, run } from '../program.js'

const pieceBytes = 2 ** 20
const zeros = Buffer.alloc(pieceBytes)

/** A file of random bytes, with its digest. */
export async function makeInput(path, mebibytes) {
  await makeRandomFile(path, mebibytes)
  return await described(path, `${mebibytes} MiB random`)
}

/** A file of `mebibytes`, of which `dataMebibytes` are data in ranges of one, evenly spread. */
export async function makeSparseInput(path, mebibytes, dataMebibytes) {
  const file = await open(path, 'w')
  await file.truncate(mebibytes * 2 ** 20)
  const step = Math.floor(mebibytes / dataMebibytes)
  for (let index = 0; index < dataMebibytes; index += 1) {
    await file.write(randomBytes(pieceBytes), 0, pieceBytes, index * step * pieceBytes)
  }
  await file.sync()
  await file.close()
  return await described(path, `${mebibytes} MiB sparse, ${dataMebibytes} of it data`)
}

async function described(path, name) {
  const [sha512] = (await run('sha512sum', [path])).split(' ')
  const file = await open(path)
  const { size } = await file.stat()
  await file.close()
  return { path, name, size, sha512 }
}

/** Writes the bytes of an input to `path`, durably, and hashes them from there: one after the other. */
export async function writeThenHash(input, path) {
  const from = await open(input.path)
  const to = await open(path, 'w+')
  try {
    const buffer = Buffer.alloc(pieceBytes)
    for (let at = 0; at < input.size; at += pieceBytes) {
      const { bytesRead } = await from.read(buffer, 0, pieceBytes, at)
      const piece = buffer.subarray(0, bytesRead)
      if (zeros.compare(piece, 0, bytesRead, 0, bytesRead) !== 0) {
        await to.write(piece, 0, bytesRead, at)
      }
    }
    await to.truncate(input.size)
    await to.sync()
    const hash = createHash('sha512')
    for (let at = 0; at < input.size; at += pieceBytes) {
      const { bytesRead } = await to.read(buffer, 0, pieceBytes, at)
      hash.update(buffer.subarray(0, bytesRead))
    }
    if (hash.digest('hex') !== input.sha512)
      throw new Error('a digest differs: the bytes are wrong')
  } finally {
    await from.close()
    await to.close()
    await rm(path, { force: true })
  }
}
