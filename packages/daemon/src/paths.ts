// Where Longhorn wants the files of a disk to be (contract §3.1): the only file here that knows a path.
//
//   <disk>/longhorn-disk.cfg                       whose disk it is; Longhorn writes it
//   <disk>/backing-images/<name>-<uuid>/backing    an image; while it comes backing.tmp, beside it backing.cfg
//   <disk>/tmp/<name>-<uuid>                       what a data source has made; .tmp and .cfg as above

import { basename, dirname, isAbsolute, join, relative, resolve, sep } from 'node:path'
import { ImageError } from '@backing-image/core'

/** What Longhorn keeps on the same disk and no request may touch. */
const reserved = new Set(['longhorn-disk.cfg', 'replicas'])
/** Longhorn names have at most 63; a file system takes 255 bytes, with what goes behind. */
const folderBytesMax = 200

/** The file that says whose disk it is. */
export function diskConfigPath(disk: string): string {
  return join(disk, 'longhorn-disk.cfg')
}

/** The folder of one image. Throws `invalid_argument` for a name or uuid that leads elsewhere. */
export function imageFolder(disk: string, name: string, uuid: string): string {
  return join(disk, 'backing-images', folderName(name, uuid))
}

/** The file of one image. */
export function imagePath(disk: string, name: string, uuid: string): string {
  return join(imageFolder(disk, name, uuid), 'backing')
}

/** The file that a data source makes of one image. */
export function sourcePath(disk: string, name: string, uuid: string): string {
  return join(disk, 'tmp', folderName(name, uuid))
}

/** What a file is called while it comes. */
export function temporaryPath(path: string): string {
  return `${path}.tmp`
}

/** What may be left of a file that did not come to its end: of its conversions, and of its config. */
export function scratchPaths(path: string): string[] {
  const temporary = temporaryPath(path)
  return [
    temporary,
    rawScratch(temporary),
    qcow2Scratch(temporary),
    temporaryPath(configPath(path)),
  ]
}

/** Where the plain bytes of a file that came as qcow2 are written (contract §3.1). */
export function rawScratch(path: string): string {
  return `${path}-raw.tmp`
}

/** The same the other way round. */
export function qcow2Scratch(path: string): string {
  return `${path}.qcow2tmp`
}

/** What goes along with a file of ours; the last is what tells a gateway's folder from Longhorn's. */
const companions = /(?:\.tmp|\.cfg|\/blocks)$/

/** Where it is written what a file is. */
export function configPath(path: string): string {
  return `${path}.cfg`
}

/** The image that a file is of: the last folder of its path without the uuid (contract §1.4). */
export function nameOf(path: string, uuid: string): string {
  const folder = basename(dirname(path))
  return folder.endsWith(`-${uuid}`) ? folder.slice(0, -uuid.length - 1) : folder
}

function folderName(name: string, uuid: string): string {
  for (const [what, text] of [
    ['name', name],
    ['uuid', uuid],
  ] as const) {
    const isPlain = text !== '' && !/[/\0]/.test(text) && !text.startsWith('.')
    if (isPlain && Buffer.byteLength(`${name}-${uuid}`) <= folderBytesMax) continue
    throw new ImageError(
      'invalid_argument',
      `The ${what} ${JSON.stringify(text.slice(0, 80))} is no part of a path.`,
    )
  }
  return `${name}-${uuid}`
}

/**
 * A path that somebody asks for, as it is kept. Throws `invalid_argument` unless it is one under the
 * disk that is neither Longhorn's own nor what goes along with another.
 */
export function assertFilePath(disk: string, path: string): string {
  const root = resolve(disk)
  const clean = isAbsolute(path) ? resolve(path) : ''
  const parts = clean === '' ? [''] : relative(root, clean).split(sep)
  const [first = ''] = parts
  // A gateway on the same disk keeps what is its own behind a point, beside the images too.
  const isPlain = parts.every((part) => part !== '' && !part.startsWith('.'))
  // What goes along with a file must be none of Longhorn's either.
  const isInside = isPlain && !reserved.has(first) && !reserved.has(configPath(first))
  if (isInside && !companions.test(clean) && !path.includes('\0')) return clean
  throw new ImageError(
    'invalid_argument',
    `The file ${JSON.stringify(path.slice(0, 300))} can not be one of this disk: an absolute path ` +
      `under ${root} is expected, outside of ${[...reserved].join(' and ')} and what begins with a ` +
      'point, and no .tmp, .cfg or blocks.',
  )
}
