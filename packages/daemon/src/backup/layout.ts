// Where things are in a backup target, and what a backup is called: the layout that Longhorn's own
// backups of backing images have (contract §1.5). The only file of this room that knows a path.
//
//   backupstore/backing-images/backing-images/<name>/backing-image.cfg   one backup of one image
//   backupstore/backing-images/blocks/<cc>/<cc>/<checksum>.blk           a block, shared by all of them
//   backupstore/volumes/<cc>/<cc>/BACKINGIMAGE/locks/<name>.lck          who works on any of them

import { createHash } from 'node:crypto'
import { ImageError } from '@backing-image/core'

/** What a block holds, but for the last one of an image. */
export const blockBytes: number = 2 * 1024 * 1024
const checksumDigits = 64
const nameBytesMax = 64
const namePattern = /^[a-zA-Z0-9][a-zA-Z0-9_.-]+$/
const parameter = 'backingImage'

export function isName(name: string): boolean {
  return name.length <= nameBytesMax && namePattern.test(name)
}

export function isBlockChecksum(text: unknown): text is string {
  return typeof text === 'string' && /^[0-9a-f]{64}$/.test(text)
}

/** The name of a block: the first half of the SHA-512 of its plain bytes. */
export async function checksumOf(block: Uint8Array<ArrayBuffer>): Promise<string> {
  // By a thread of the runtime: it would hold up the event loop for milliseconds.
  const digest = await crypto.subtle.digest('SHA-512', block)
  return Buffer.from(digest).toString('hex').slice(0, checksumDigits)
}

export function configPath(name: string): string {
  return `backupstore/backing-images/backing-images/${name}/backing-image.cfg`
}

export function blockPath(checksum: string): string {
  return `backupstore/backing-images/blocks/${folders(checksum)}/${checksum}.blk`
}

/** All backups of images share one pool of blocks, and so one folder of locks. */
export const locksFolder: string = `backupstore/volumes/${folders(
  createHash('sha512').update('BACKINGIMAGE').digest('hex'),
)}/BACKINGIMAGE/locks`

export function lockPath(name: string): string {
  return `${locksFolder}/${name}.lck`
}

function folders(checksum: string): string {
  return `${checksum.slice(0, 2)}/${checksum.slice(2, 4)}`
}

/** What a backup is asked for by: its target with one more parameter. */
export function backupUrl(target: string, name: string): string {
  return `${target}${target.includes('?') ? '&' : '?'}${parameter}=${encodeURIComponent(name)}`
}

/** Takes a backup's URL apart; the target is told without what the parameters of it say. */
export function parseBackupUrl(url: string): { name: string; target: string } {
  // Some have come through a shell, or through JSON twice.
  const plain = url.replace(/\\?u0026/, '&').replaceAll(/^["']+|["']+$/g, '')
  const name = URL.canParse(plain) ? new URL(plain).searchParams.get(parameter) : undefined
  if (typeof name === 'string' && isName(name)) return { name, target: plain }
  throw new ImageError(
    'invalid_argument',
    `invalid backing image name parsed: ${name ?? ''}; the URL of a backup ends with ` +
      `"?${parameter}=NAME".`,
  )
}
