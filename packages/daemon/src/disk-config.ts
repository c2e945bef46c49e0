// Whose disk it is: Longhorn writes that at its root, and a daemon without it would serve whatever happens
// to be mounted there (contract §3.1).

import { readFile } from 'node:fs/promises'
import { ImageError, asError } from '@backing-image/core'
import { diskConfigPath } from './paths.ts'

/**
 * The UUID of the disk at `root`. Rejects with `failed_precondition` where that is no disk of Longhorn's,
 * or, unless `wanted` is empty, another one.
 */
export async function readDiskUuid(root: string, wanted: string): Promise<string> {
  const path = diskConfigPath(root)
  let text: string
  try {
    text = await readFile(path, 'utf8')
  } catch (cause) {
    throw refused(`${path} can not be read: ${asError(cause).message}`, cause)
  }
  const uuid = uuidIn(text)
  if (uuid === '') throw refused(`${path} has no diskUUID`)
  if (wanted !== '' && wanted !== uuid) {
    throw refused(`${path} says that this is the disk ${uuid}, and ${wanted} is asked for`)
  }
  return uuid
}

function uuidIn(text: string): string {
  try {
    const { diskUUID } = JSON.parse(text) as { diskUUID?: unknown }
    return typeof diskUUID === 'string' ? diskUUID : ''
  } catch {
    return ''
  }
}

function refused(what: string, cause?: unknown): ImageError {
  return new ImageError(
    'failed_precondition',
    `${what}. Mount the disk of Longhorn there, or name it with --disk-path.`,
    { cause },
  )
}
