// `backing-image upload`: a file, or what comes on stdin, becomes an image.

import { createReadStream } from 'node:fs'
import { stat } from 'node:fs/promises'
import type { Readable } from 'node:stream'
import { asError, parseChecksum } from '@backing-image/core'
import type { Command } from 'commander'
import type { ImageView } from '../view.ts'
import { type Form, outputOption, printImage } from './output.ts'
import { startProgress } from './progress.ts'
import * as common from './server-options.ts'
import { CommandError, type Terminal, UsageError } from './terminal.ts'

interface Options {
  name?: string
  version?: string
  checksum?: string
  label?: Record<string, string>
  decompress?: boolean
  output?: Form
}

type Given = string | undefined

const chunkBytes = 1024 * 1024

export function addUpload(group: Command, terminal: Terminal): void {
  const description = 'store a file, or stdin where FILE is "-"'
  common
    .withName(common.addServerCommand(group, 'upload NAME FILE', description))
    .argument('[name]', 'the image')
    .argument('[file]', 'the file')
    .option('--version <version>', 'the version (default: the next number)')
    .option('--checksum <checksum>', 'what the bytes must have: sha512:, sha256:, sha1: or md5:')
    .option('--label <key=value>', 'a label; may be repeated', common.collectPair)
    .option('--decompress', 'unpack gzip, xz, zstd or bzip2 on the way')
    .addOption(outputOption())
    .addHelpText('after', uploadHelp)
    .action(async (first: Given, second: Given, options: Options, command: Command) => {
      const [name, file] = common.nameAnd(options.name, [first, second])
      if (file === undefined) throw new UsageError('Which FILE? Give its path, or "-" for stdin.')
      assertChecksum(options.checksum)
      const client = common.clientOf(command, terminal)
      const source = await open(file, terminal)
      const progress = startProgress(terminal, source.size)
      try {
        const path = uploadPath(name, options)
        const onSent = (lengthBytes: number) => progress.add(lengthBytes)
        const image = await client.upload<ImageView>(path, { ...source, onSent })
        progress.stop()
        printImage(terminal, options.output, image)
      } finally {
        progress.stop()
        source.bytes.destroy()
      }
    })
}

const uploadHelp = `
Examples:
  $ backing-image-manager backing-image upload debian debian-12.qcow2
  $ backing-image-manager backing-image upload debian debian-12.qcow2 --version 12.5 --label os=linux
  $ backing-image-manager backing-image upload disk disk.img.xz --decompress
  $ tar -xOf disk.tar disk.img | backing-image-manager backing-image upload disk -`

/** Before a byte is read or sent. */
function assertChecksum(checksum: string | undefined): void {
  try {
    if (checksum !== undefined) parseChecksum(checksum)
  } catch (error) {
    throw new UsageError(`--checksum: ${asError(error).message}`)
  }
}

function uploadPath(name: string, options: Options): string {
  const { version, checksum, label = {}, decompress } = options
  const query = new URLSearchParams()
  if (version !== undefined) query.append('version', version)
  if (checksum !== undefined) query.append('checksum', checksum)
  if (decompress) query.append('decompress', 'auto')
  for (const [key, value] of Object.entries(label)) query.append('label', `${key}=${value}`)
  return query.size === 0 ? common.imagePath(name) : `${common.imagePath(name)}?${query.toString()}`
}

async function open(file: string, terminal: Terminal): Promise<{ bytes: Readable; size?: number }> {
  if (file === '-') return { bytes: terminal.stdin }
  const stats = await stat(file).catch((error: unknown) => {
    throw new CommandError(`${file} can not be read: ${asError(error).message}.`)
  })
  if (stats.isDirectory()) throw new CommandError(`${file} is a folder; one file is expected.`)
  // A device or pipe has bytes that its size does not tell.
  if (!stats.isFile()) return { bytes: createReadStream(file, { highWaterMark: chunkBytes }) }
  // What is appended meanwhile is not sent: the length has been announced.
  const end = Math.max(stats.size - 1, 0)
  return { bytes: createReadStream(file, { highWaterMark: chunkBytes, end }), size: stats.size }
}
