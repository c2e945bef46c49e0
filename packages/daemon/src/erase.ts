// The end of a file on the disk, with all that goes along.

import { dirname } from 'node:path'
import type { Place } from './arrival.ts'
import { removeFiles } from './config-file.ts'
import { isGatewayFolder } from './gateway-files.ts'
import { configPath, scratchPaths } from './paths.ts'

/** Leaves nothing of the file at `path`; what is a gateway's was never ours, and stays. */
export async function eraseFile({ disk }: Place, path: string): Promise<void> {
  if (await isGatewayFolder(disk, dirname(path))) return
  await removeFiles(disk, [...scratchPaths(path), configPath(path), path])
}
