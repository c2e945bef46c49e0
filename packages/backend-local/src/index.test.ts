// What is particular to a folder: foreign things beside ours, holes, modes, and the order of a list.

import { randomBytes } from 'node:crypto'
import { readFileSync, statSync } from 'node:fs'
import { chmod, mkdir, readdir, rm, symlink, truncate, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { type Code, bytesOf, isImageError, readAll } from '@backing-image/core'
import { LocalBackend } from './index.ts'
import { errnoError, hooked, openFiles, temporaries, withFolder } from './testing/index.ts'

const local = suite('local')
const mebibyte = 1024 * 1024
const block = 4096

async function failure(work: Promise<unknown>): Promise<Error> {
  try {
    await work
  } catch (error) {
    if (error instanceof Error) return error
    throw error
  }
  throw new Error('it succeeded')
}

async function refuses(code: Code, work: Promise<unknown>, what = 'it'): Promise<Error> {
  const error = await failure(work)
  assert.ok(isImageError(error, code), `${what}: expected ${code}, found ${String(error)}`)
  return error
}

async function listed(backend: LocalBackend, prefix = ''): Promise<string[]> {
  const keys: string[] = []
  for await (const { key } of backend.list(prefix)) keys.push(key)
  return keys
}

/** Runs a test with a backend over a fresh folder. */
async function withLocal(
  test: (backend: LocalBackend, root: string) => Promise<void>,
): Promise<void> {
  await withFolder(async (root) => {
    const backend = await LocalBackend.open({ root })
    try {
      await test(backend, root)
    } finally {
      await backend.close()
    }
  })
}

async function* inChunks(body: Uint8Array, chunkBytes: number): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < body.length; at += chunkBytes) yield body.subarray(at, at + chunkBytes)
}

local('a root that is missing, no folder or not writable is refused by kind and by name', () =>
  withFolder(async (root) => {
    const missing = join(root, 'missing')
    const error = await refuses('not_found', LocalBackend.open({ root: missing }))
    assert.match(error.message, missing)
    await writeFile(join(root, 'file'), '')
    await refuses('not_found', LocalBackend.open({ root: join(root, 'file') }))
    // As root nothing is refused, so the refusal is injected.
    const disk = hooked(async (call, proceed) => {
      if (call.verb === 'mkdir') throw errnoError('EACCES')
      return await proceed()
    })
    await chmod(root, 0o750)
    const refused = await refuses('permission_denied', LocalBackend.open({ root, disk }))
    assert.match(refused.message, root)
    assert.match(refused.message, 'mode 750')
    assert.match(refused.message, `ser ${process.getuid?.()} may not`)
    assert.equal(await readdir(root), ['file'], 'a refused open left something')
  }),
)

local('a sparse image costs no more than its data', () =>
  withLocal(async (backend, root) => {
    async function* sparse(): AsyncGenerator<Uint8Array> {
      const zeros = Buffer.alloc(mebibyte)
      for (let count = 0; count < 64; count += 1) {
        if (count === 40) {
          const chunk = Buffer.alloc(mebibyte)
          chunk[123_456] = 1
          yield chunk
        } else yield zeros
      }
    }
    const stat = await backend.put('sparse/backing', sparse(), { size: 64 * mebibyte })
    assert.is(stat.size, 64 * mebibyte)
    assert.ok((stat.allocated ?? Infinity) < mebibyte, `${stat.allocated} bytes are allocated`)
    const body = readFileSync(join(root, 'sparse/backing'))
    assert.is(body[40 * mebibyte + 123_456], 1)
    assert.is(body.filter((byte) => byte !== 0).length, 1)
  }),
)

local('every whole block of zeros is a hole, whatever the chunks', () =>
  withLocal(async (backend, root) => {
    const pattern = [1, 0, 0, 1, 1, 0, 1, 0, 0, 0]
    // Twice 1.2 MiB: large enough not to be taken as one piece.
    const body = Buffer.concat(
      Array.from({ length: 600 }, (_, index) =>
        pattern[index % pattern.length] ? randomBytes(block) : Buffer.alloc(block),
      ),
    )
    for (const chunkBytes of [1_000, block, 65_536, 100_001, 300_007, mebibyte, body.length]) {
      const { allocated } = await backend.put('pattern', inChunks(body, chunkBytes))
      const least = (body.length * 4) / 10
      // The file system may count blocks of its own for the map of so many holes.
      const over = (allocated ?? 0) - least
      assert.ok(over >= 0 && over <= 4 * block, `${over} bytes too many, chunks of ${chunkBytes}`)
      assert.ok(readFileSync(join(root, 'pattern')).equals(body), `chunks of ${chunkBytes}`)
    }
  }),
)

local('what others have put beside ours is neither shown, followed, replaced nor deleted', () =>
  withLocal(async (backend, root) => {
    await withFolder(async (elsewhere) => {
      await writeFile(join(elsewhere, 'secret'), 'secret')
      await backend.put('ours/backing', bytesOf('ours'))
      await symlink(elsewhere, join(root, 'linked'))
      await symlink(join(elsewhere, 'secret'), join(root, 'ours', 'link'))
      await mkdir(join(root, 'lost+found'))
      await mkdir(join(root, 'empty'))
      await writeFile(join(root, 'ours', '.nfs0001'), '')
      await writeFile(join(root, '.hidden'), '')
      await writeFile(join(root, 'with space'), '')
      await mkdir(join(root, '.cache'))
      await writeFile(join(root, '.cache', 'x'), '')
      assert.equal(await listed(backend), ['ours/backing'])
      assert.equal(await listed(backend, 'linked/'), [])
      for (const key of ['linked', 'linked/secret', 'ours/link', 'empty']) {
        await refuses('not_found', backend.get(key), `get ${key}`)
        await refuses('not_found', backend.stat(key), `stat ${key}`)
        await backend.delete(key)
        await refuses('failed_precondition', backend.put(key, bytesOf('x')), `put ${key}`)
      }
      await refuses('failed_precondition', backend.put('ours/backing/x', bytesOf('x')))
      assert.equal(await readdir(elsewhere), ['secret'])
      assert.is(readFileSync(join(elsewhere, 'secret'), 'utf8'), 'secret')
      const names = ['.cache', '.hidden', '.tmp', 'empty', 'linked', 'lost+found', 'ours']
      assert.equal((await readdir(root)).toSorted(), [...names, 'with space'])
      assert.equal((await readdir(join(root, 'ours'))).toSorted(), ['.nfs0001', 'backing', 'link'])
      assert.equal(await temporaries(root), [])
    })
  }),
)

local('an unreadable folder of somebody else is skipped, one of ours is an error', () =>
  withFolder(async (root) => {
    const closed = new Set<string>()
    const disk = hooked(async (call, proceed) => {
      if (call.verb === 'readdir' && closed.has(call.path)) throw errnoError('EACCES')
      return await proceed()
    })
    const backend = await LocalBackend.open({ root, disk })
    for (const key of ['.catalog/a/1.json', 'foreign/file', 'ours/file']) {
      await backend.put(key, bytesOf(key))
    }
    closed.add(join(root, 'foreign'))
    assert.equal(await listed(backend), ['.catalog/a/1.json', 'ours/file'])
    await refuses('permission_denied', listed(backend, 'foreign/'), 'asked for by name')
    closed.add(join(root, '.catalog'))
    await refuses('permission_denied', listed(backend), 'a reserved folder')
    await backend.close()
  }),
)

local('files are 0644 and folders 0755', () =>
  withLocal(async (backend, root) => {
    const before = process.umask(0o022)
    await backend.put('ab/backing', bytesOf('x'))
    process.umask(before)
    assert.is(statSync(join(root, 'ab')).mode & 0o777, 0o755)
    assert.is(statSync(join(root, 'ab/backing')).mode & 0o777, 0o644)
  }),
)

local('a file that shrinks while it is read is data_loss, not a short success', () =>
  withLocal(async (backend, root) => {
    await backend.put('key', inChunks(randomBytes(3 * mebibyte), mebibyte))
    const bytes = await backend.get('key')
    await truncate(join(root, 'key'), mebibyte + 5)
    await refuses('data_loss', readAll(bytes, 4 * mebibyte))
    assert.equal(await openFiles(root), [])
  }),
)

local('a small object holds no descriptor, a large one until it is read or let go', () =>
  withLocal(async (backend, root) => {
    await backend.put('small', bytesOf(randomBytes(mebibyte)))
    await backend.put('large', bytesOf(randomBytes(mebibyte + 1)))
    await backend.get('small')
    assert.equal(await openFiles(root), [])
    const bytes = await backend.get('large')
    assert.is((await openFiles(root)).length, 1)
    await bytes[Symbol.asyncIterator]().return?.()
    assert.equal(await openFiles(root), [])
  }),
)

local('two processes over one root have different owners, and close leaves only ballast', () =>
  withFolder(async (root) => {
    const one = await LocalBackend.open({ root })
    const two = await LocalBackend.open({ root })
    assert.is.not(one.owner, two.owner)
    assert.ok(one.owner.length <= 100)
    await one.put('a', bytesOf('a'))
    await one.close()
    assert.equal((await readdir(join(root, '.tmp'))).toSorted(), [two.owner, 'ballast'].toSorted())
    await two.put('b', bytesOf('b'))
    await two.close()
    assert.equal(await readdir(join(root, '.tmp')), ['ballast'])
  }),
)

local('a put goes on when somebody has emptied .tmp', () =>
  withLocal(async (backend, root) => {
    const other = await LocalBackend.open({ root })
    await rm(join(root, '.tmp'), { recursive: true })
    await Promise.all(['a', 'b', 'c'].map((key) => backend.put(key, bytesOf(key))))
    assert.equal(await listed(backend), ['a', 'b', 'c'])
    assert.not.ok(await other.isGone(backend.owner))
    await other.close()
  }),
)

local('only what is unfinished is shown as such, and discard removes nothing else', () =>
  withLocal(async (backend, root) => {
    await backend.put('a/b', bytesOf('kept'))
    const folder = join(root, '.tmp', '01234567-89abcdef')
    await mkdir(folder)
    for (const name of ['7~a~b', 'alive', 'x~y', '9~..~a~b']) {
      await writeFile(join(folder, name), '')
    }
    const shown: unknown[] = []
    for await (const { id, key, owner } of backend.unfinished()) shown.push({ id, key, owner })
    const owner = '01234567-89abcdef'
    assert.equal(shown, [{ id: `${owner}/7~a~b`, key: 'a/b', owner }])
    for (const id of [
      `${owner}/alive`,
      `${owner}/../../a/b`,
      '../a/b',
      `${owner}/x~y`,
      'ballast',
    ]) {
      await backend.discard(id)
    }
    await backend.discard(`${owner}/7~a~b`)
    assert.equal((await readdir(folder)).toSorted(), ['9~..~a~b', 'alive', 'x~y'])
    assert.equal(await listed(backend), ['a/b'])
  }),
)

local.run()
