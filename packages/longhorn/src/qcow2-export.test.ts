// Exports that are asked for as qcow2 and come raw: what is given to qemu-img, and that nothing is left.
// The program here is a script, so that these tests need none; e2e/longhorn-export.test.js has the real one.

import { createHash, randomBytes } from 'node:crypto'
import { mkdtemp, readFile, readdir, readlink, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { type Bytes, isImageError } from '@backing-image/core'
import { qcow2Image } from '@backing-image/core/testing'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { toQcow2 } from './qcow2-export.ts'
import { assertConverter } from './qemu-img.ts'
import { bringing, brought, bytesOf } from './testing/bringing.ts'

const converting = suite('exports as qcow2')

const disk: Buffer = Buffer.concat([
  Buffer.alloc(4096),
  randomBytes(999_936),
  Buffer.alloc(4 * 1024 * 1024),
])
const result: Buffer = qcow2Image()

interface Rig {
  /** The script that stands for qemu-img. */
  program: string
  /** Where files are put that must not stay. */
  folder: string
  /** What the script was given: by its name. */
  seen: (what: string) => Promise<string>
  signal: AbortSignal
  stop: AbortController
}

/** A claim about a program whose last words are `script`. */
function given(script: string, claim: (rig: Rig) => Promise<void>): () => Promise<void> {
  return async () => {
    const home = await mkdtemp(join(tmpdir(), 'qcow2-export-test-'))
    const folder = await mkdtemp(join(home, 'scratch-'))
    const program = join(home, 'qemu-img')
    const lines = [
      '#!/bin/sh',
      `[ "$1" = --version ] && exit 0`,
      `cd '${home}'`,
      'echo "$*" > arguments; ulimit -v > memory; ulimit -t > seconds; ulimit -f > blocks',
      `env > environment; ls -A '${folder}' > names; sha512sum < "$6" | cut -c1-128 > input`,
      script,
    ]
    await writeFile(join(home, 'result'), result)
    await writeFile(program, lines.join('\n'), { mode: 0o755 })
    const stop = new AbortController()
    const seen = async (what: string): Promise<string> => await readFile(join(home, what), 'utf8')
    try {
      await claim({ program, folder, seen, stop, signal: stop.signal })
      assert.equal([await readdir(folder), await openIn(folder)], [[], []])
    } finally {
      await rm(home, { recursive: true })
    }
  }
}

/** The files of this process that are, or were, there. */
async function openIn(folder: string): Promise<string[]> {
  const links = (await readdir('/proc/self/fd')).map((each) => readlink(`/proc/self/fd/${each}`))
  const paths = await Promise.all(links.map((link) => link.catch(() => '')))
  return paths.filter((path) => path.startsWith(folder))
}

const succeeds = 'cat result > "$7"'

async function* chunks(bytes: Buffer): Bytes {
  for (let at = 0; at < bytes.length; at += 65_536) yield bytes.subarray(at, at + 65_536)
}

function sha512Of(bytes: Buffer): string {
  return createHash('sha512').update(bytes).digest('hex')
}

async function converted(rig: Rig, bytes: Buffer = disk, changes: { sha512?: string } = {}) {
  const { program: qemuImg, folder, signal } = rig
  const told = { size: bytes.length, sha512: sha512Of(bytes), ...changes }
  return await toQcow2(chunks(bytes), { ...told, signal, qemuImg, folder })
}

async function read(bytes: Bytes): Promise<Buffer> {
  const parts: Buffer[] = []
  for await (const chunk of bytes) parts.push(Buffer.from(chunk))
  return Buffer.concat(parts)
}

async function failure(work: Promise<unknown>): Promise<Error> {
  return await work.then(
    () => {
      throw new Error('it did not fail')
    },
    (error: unknown) => error as Error,
  )
}

converting(
  'the program is told what it reads, and has limits, no secrets and no names',
  given(succeeds, async (rig) => {
    process.env['API_TOKEN'] = 's3cr3t'
    const made = await converted(rig)
    delete process.env['API_TOKEN']
    assert.ok((await read(made.bytes)).equals(result))
    assert.equal([made.size, made.format, made.expected], [result.length, 'qcow2', []])
    assert.match(made.warnings?.[0] ?? '', new RegExp(`converted here.*${sha512Of(disk)}`))
    assert.is(
      (await rig.seen('arguments')).trim(),
      'convert -f raw -O qcow2 /proc/self/fd/3 /proc/self/fd/4',
    )
    assert.is(await rig.seen('names'), '')
    assert.not.match(await rig.seen('environment'), 's3cr3t')
    for (const limit of ['memory', 'seconds', 'blocks']) {
      assert.match(await rig.seen(limit), /^[1-9][0-9]*\s*$/)
    }
    assert.is((await rig.seen('input')).trim(), sha512Of(disk))
  }),
)

converting(
  'what is qcow2 already stays as it is, and no program sees it',
  given(succeeds, async (rig) => {
    const made = await converted(rig, result)
    assert.ok((await read(made.bytes)).equals(result))
    assert.equal([made.expected, made.warnings], [[`sha512:${sha512Of(result)}`], undefined])
    assert.match((await failure(rig.seen('arguments'))).message, 'ENOENT')
  }),
)

const wrong: [string, Buffer, { sha512?: string }, RegExp][] = [
  ['with another checksum', disk, { sha512: '0'.repeat(128) }, /Longhorn says 000/],
  ['of an unsafe image', qcow2Image({ backingFile: '/etc/passwd' }), {}, /backing file/],
  ['of another format', Buffer.from(`KDMV${'x'.repeat(2000)}`), {}, /VMDK/],
]
for (const [what, bytes, changes, words] of wrong) {
  converting(
    `bytes ${what} are refused before any program sees them`,
    given(succeeds, async (rig) => {
      assert.match((await failure(converted(rig, bytes, changes))).message, words)
      assert.match((await failure(rig.seen('arguments'))).message, 'ENOENT')
    }),
  )
}

converting(
  'a program that fails is told with its words',
  given('echo "no luck today" >&2; exit 3', async (rig) => {
    const error = await failure(converted(rig))
    assert.ok(isImageError(error, 'failed_precondition'))
    assert.match(error.message, /ended with 3 .*no luck today.*"raw" instead/)
  }),
)

converting(
  'a program that writes too much is ended',
  given('yes | head -c 100000000 > "$7" || exit 9', async (rig) => {
    assert.match((await failure(converted(rig))).message, /it (?:ended with|was ended by)/)
  }),
)

converting(
  'a program that hangs goes when the work is cancelled',
  given('echo $$ > process; exec sleep 600', async (rig) => {
    const work = failure(converted(rig))
    const reason = new Error('cancelled')
    let id = ''
    while (id === '') {
      id = (await rig.seen('process').catch(() => '')).trim()
      await pause(2)
    }
    rig.stop.abort(reason)
    assert.is(await work, reason)
    assert.throws(() => process.kill(Number(id), 0), /ESRCH/)
  }),
)

converting(
  'bytes that are left unread are closed',
  given(succeeds, async (rig) => {
    const { bytes } = await converted(rig)
    assert.is((await openIn(rig.folder)).length, 1)
    await bytes[Symbol.asyncIterator]().return?.()
  }),
)

converting(
  'a folder that can not be written is named',
  given(succeeds, async (rig) => {
    const error = await failure(converted({ ...rig, folder: '/proc/none' }))
    assert.ok(isImageError(error, 'failed_precondition'))
    assert.match(error.message, /\/proc\/none.*ENOENT.*TMPDIR/)
  }),
)

converting('without the program it is said what to install', async () => {
  const error = await failure(assertConverter('/nowhere/qemu-img'))
  assert.ok(isImageError(error, 'invalid_argument'))
  assert.match(error.message, /\/nowhere\/qemu-img.*qemu-utils.*"export-type": "raw"/)
})

const asked = {
  sourceType: 'export-from-volume',
  parameters: { 'volume-name': 'data', 'export-type': 'qcow2' },
} as const

converting(
  'a volume becomes a qcow2 image with a warning that says how',
  given(succeeds, async ({ program }) => {
    await bringing(async ({ standIn, open }) => {
      standIn.volumes.set('data', disk)
      const store = await open({ qemuImg: program })
      const image = await brought(store, 'golden', asked)
      assert.equal([image.state, image.format], ['ready', 'qcow2'], image.message)
      assert.ok((await bytesOf(store, 'golden')).equals(result))
      assert.match(image.warnings.join(' '), 'converted here, by qemu-img')
      assert.equal(image.parameters, asked.parameters)
      while ((await store.inFlight()).length > 0) await pause(2)
      assert.is(standIn.images.size, 0)
    })()
  }),
)

converting(
  'without the program nothing is exported',
  bringing(async ({ standIn, open }) => {
    standIn.volumes.set('data', disk)
    const work = brought(await open({ qemuImg: '/nowhere/qemu-img' }), 'golden', asked)
    assert.match((await failure(work)).message, 'qemu-utils')
    assert.is(standIn.requests.length, 0)
  }),
)

converting.run()
