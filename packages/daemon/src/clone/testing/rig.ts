// A folder with an image, and scripts that stand for cryptsetup and qemu-img, so that tests need neither;
// e2e/daemon-clone.test.js has the real ones.

import { randomBytes } from 'node:crypto'
import { mkdir, mkdtemp, readFile, readdir, readlink, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { openDisk } from '@backing-image/backend-local'
import * as assert from 'uvu/assert'
import { type Clone, clonedBytes } from '../cloned-bytes.ts'

export const passphrase = 'open s3same'
const headerBytes = 16 * 1024 * 1024

export interface Rig {
  /** Where the image is, and nothing else may stay. */
  folder: string
  /** The volume key that the header gives away. */
  key: Buffer
  /** The 16 MiB that the program makes. */
  header: Buffer
  /** Has the program tell this of a header. */
  tell: (metadata: unknown) => Promise<void>
  /** Has the program of this name be a script that ends so. */
  script: (program: string, lines: string) => Promise<void>
  /** What a script has written down. */
  seen: (what: string) => Promise<string>
  /** Clones the image of these bytes. */
  clone: (
    encryption: string,
    source: Uint8Array,
    credential?: Record<string, string>,
  ) => Promise<Clone>
  stop: AbortController
}

/** What cryptsetup tells of a header, but for what is given. */
export function metadataOf(segment: object = {}, config: object = {}): unknown {
  const plain = {
    type: 'crypt',
    offset: String(headerBytes),
    size: 'dynamic',
    iv_tweak: '0',
    encryption: 'aes-xts-plain64',
    sector_size: 512,
  }
  return { segments: { 0: { ...plain, ...segment } }, config }
}

const cryptsetup = `case "$*" in
*luksFormat*) echo "$*" > format; env > environment; ulimit -v > memory; cat > input
  ls -A image-folder > names; cat header >&3;;
*json*) cat metadata;;
*volume-key*) echo "$*" > dump; [ "$(cat)" = '${passphrase}' ] || { echo 'no key for it' >&2; exit 2; }
  cat key;;
esac`

/** A claim about the rig, after which no file is left, or open, beside the image. */
export function rigged(claim: (rig: Rig) => Promise<void>): () => Promise<void> {
  return async () => {
    const home = await mkdtemp(join(tmpdir(), 'clone-test-'))
    const folder = join(home, 'image-folder')
    const image = join(folder, 'image')
    await mkdir(folder)
    const key = randomBytes(32)
    const header = Buffer.alloc(headerBytes)
    header.write('LUKS\xba\xbe\x00\x02', 'latin1')
    randomBytes(9999).copy(header, 4096)
    const stop = new AbortController()
    const script: Rig['script'] = async (program, lines) => {
      const text = `#!/bin/sh\ncd '${home}'\n${lines}\n`
      await writeFile(join(home, program), text, { mode: 0o755 })
    }
    const tell: Rig['tell'] = async (metadata) =>
      await writeFile(join(home, 'metadata'), JSON.stringify(metadata))
    const path = process.env['PATH'] ?? ''
    try {
      await script('cryptsetup', cryptsetup)
      await tell(metadataOf())
      await writeFile(join(home, 'header'), header)
      await writeFile(join(home, 'key'), dumpOf(key))
      process.env['PATH'] = `${home}:${path}`
      const disk = openDisk(home)
      await claim({
        folder,
        key,
        header,
        tell,
        script,
        stop,
        seen: async (what) => await readFile(join(home, what), 'utf8'),
        clone: async (encryption, source, credential = { CRYPTO_KEY_VALUE: passphrase }) => {
          await writeFile(image, source)
          const scratch = join(folder, 'target.tmp')
          const { signal } = stop
          return await clonedBytes({ disk, source: image, scratch, encryption, credential, signal })
        },
      })
      assert.equal([await readdir(folder), await openIn(folder)], [['image'], []])
    } finally {
      process.env['PATH'] = path
      await rm(home, { recursive: true })
    }
  }
}

/** What `work` rejects with. */
export async function failure(work: Promise<unknown>): Promise<Error> {
  return await work.then(
    () => {
      throw new Error('it did not fail')
    },
    (error: unknown) => error as Error,
  )
}

/** As cryptsetup shows a key. */
function dumpOf(key: Buffer): string {
  const lines = key.toString('hex').match(/.{32}/g) ?? []
  const bytes = lines.map((line) => line.replaceAll(/../g, '$& ')).join('\n\t\t')
  return `LUKS header information for /proc/self/fd/3\nMK bits:       \t256\nMK dump:\t${bytes}\n`
}

/** The files of this process that are, or were, there. */
async function openIn(folder: string): Promise<string[]> {
  const links = (await readdir('/proc/self/fd')).map((each) => readlink(`/proc/self/fd/${each}`))
  const paths = await Promise.all(links.map((link) => link.catch(() => '')))
  return paths.filter((found) => found.startsWith(folder))
}
