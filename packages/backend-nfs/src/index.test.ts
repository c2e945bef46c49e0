// The store on an export, without NFS: whose store it is, what is refused, and the trash.

import { mkdir, readFile, rm, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { bytesOf, isImageError, readAll } from '@backing-image/core'
import { type Disk, nodeDisk } from '@backing-image/backend-local'
import { identityName } from './identity.ts'
import type { NfsBackend } from './index.ts'
import { callsOf, hookedDisk, kernelError, mountsOf, namesIn } from './testing/index.ts'
import { refused, withExport } from './testing/index.ts'

const nfs = suite('nfs')
const minuteMs = 60_000

async function keys(backend: NfsBackend): Promise<string[]> {
  const found: string[] = []
  for await (const { key } of backend.list('')) found.push(key)
  return found
}

nfs('a path that is on no NFS mount is refused, and nothing is written there', () =>
  withExport(async ({ folder, open }) => {
    const readMounts = (): Promise<string> => Promise.resolve(mountsOf(folder, 'rw', 'ext4'))
    const error = await refused('failed_precondition', open({ readMounts }))
    for (const part of [folder, 'is not an NFS mount', 'ext4']) assert.match(error.message, part)
    await refused('failed_precondition', open({ path: join(folder, 'missing') }))
    assert.equal(await namesIn(folder), [])
  }),
)

nfs('a folder in a mount is a store, also through a link', () =>
  withExport(async ({ folder, open }) => {
    await mkdir(join(folder, 'deep'))
    await symlink(join(folder, 'deep'), join(folder, 'link'))
    const backend = await open({ path: join(folder, 'link') })
    await backend.put('a/backing', bytesOf('x'))
    assert.equal(await namesIn(folder, 'deep'), [identityName, '.tmp', 'a'].toSorted())
  }),
)

nfs('a fresh export gets one id, whoever comes first; it is kept, and no key', () =>
  withExport(async ({ folder, open }) => {
    const notices: string[] = []
    const onNotice = (text: string): void => void notices.push(text)
    const all = await Promise.all(Array.from({ length: 8 }, () => open({ onNotice })))
    const ids = new Set(all.map(({ storageId }) => storageId))
    assert.is(ids.size, 1)
    const made = notices.filter((text) => text.includes('is new'))
    assert.is(made.length, 1, notices.join('\n'))
    const [id = ''] = ids
    assert.match(made.join('\n'), id)
    const identity: unknown = JSON.parse(await readFile(join(folder, identityName), 'utf8'))
    assert.is((identity as { id: string }).id, id)
    assert.is((identity as { layout: number }).layout, 1)
    assert.is((await open()).storageId, id)
    for (const each of all) assert.equal(await keys(each), [])
    assert.equal(await namesIn(folder, '.tmp', 'trash'), [])
  }),
)

nfs('with a storage id nothing is made, and only that store is opened', () =>
  withExport(async ({ folder, open }) => {
    const empty = await refused('failed_precondition', open({ storageId: 'rack-1' }))
    for (const part of ['rack-1', 'nas:/images', folder, 'without STORAGE_ID']) {
      assert.match(empty.message, part)
    }
    assert.equal(await namesIn(folder), [])
    const { storageId } = await open()
    const wrong = await refused('failed_precondition', open({ storageId: 'rack-1' }))
    assert.ok(isImageError(wrong) && wrong.expected === 'rack-1' && wrong.actual === storageId)
    assert.is((await open({ storageId })).storageId, storageId)
  }),
)

nfs(
  'a store that came from elsewhere without an id is given one, but not in place of another',
  () =>
    withExport(async ({ folder, open }) => {
      await mkdir(join(folder, '.catalog', 'debian'), { recursive: true })
      await writeFile(join(folder, '.catalog', 'debian', '1.json'), '{}')
      await refused('failed_precondition', open({ storageId: 'rack-1' }))
      const notices: string[] = []
      const backend = await open({ onNotice: (text) => notices.push(text) })
      assert.match(notices.join('\n'), 'held a store without an id')
      assert.equal(await keys(backend), ['.catalog/debian/1.json'])
    }),
)

nfs('an id that can not be read is refused, and left as it is', () =>
  withExport(async ({ folder, open }) => {
    for (const text of ['', '{', 'null', '{"id":7}', '{"id":"../x"}', '"x"']) {
      await writeFile(join(folder, identityName), text)
      const error = await refused('failed_precondition', open())
      assert.match(error.message, identityName)
      assert.is(await readFile(join(folder, identityName), 'utf8'), text)
    }
  }),
)

nfs('deleted bytes stay readable for a while under another name; records go at once', () =>
  withExport(async ({ folder, open }) => {
    const backend = await open({ trashDelayMs: minuteMs })
    await backend.put('a-12345678/backing', bytesOf('bytes'))
    await backend.put('a-12345678/backing.cfg', bytesOf('{}'))
    const other = await open()
    const reading = await other.get('a-12345678/backing')
    for (const name of ['backing', 'backing.cfg']) await backend.delete(`a-12345678/${name}`)
    assert.equal(await keys(other), [])
    await refused('not_found', other.get('a-12345678/backing'))
    assert.is((await readAll(reading)).toString(), 'bytes')
    const [only = '', ...rest] = await namesIn(folder, '.tmp', 'trash')
    assert.equal(rest, [])
    assert.match(only, /~a-12345678~backing$/)
    await backend.delete('a-12345678/backing')
    for await (const { id } of backend.unfinished()) assert.unreachable(id)
    // Somebody tidies up by hand.
    await rm(join(folder, '.tmp', 'trash'), { recursive: true })
    await backend.put('b/backing', bytesOf('x'))
    await backend.delete('b/backing')
    assert.equal(await keys(backend), [])
    assert.is((await namesIn(folder, '.tmp', 'trash')).length, 1)
  }),
)

nfs('the trash is emptied by age on the clock of the server, whoever filled it', () =>
  withExport(async ({ folder, open }) => {
    let aheadNs = 0n
    // The clock of the server: that of what is made there, some time after all else.
    const disk: Disk = {
      ...nodeDisk,
      open: async (path, flags, mode) => {
        const file = await nodeDisk.open(path, flags, mode)
        if (!path.includes('/probe-')) return file
        const stat = async (): ReturnType<typeof file.stat> => {
          const stats = await file.stat()
          stats.ctimeNs += aheadNs
          return stats
        }
        return { ...callsOf(file), stat }
      },
    }
    const first = await open({ disk })
    await first.put('a/backing', bytesOf('x'))
    await first.delete('a/backing')
    await writeFile(join(folder, '.tmp', 'trash', '.nfs000000000000000100000001'), '')
    const length = async (): Promise<number> => (await namesIn(folder, '.tmp', 'trash')).length
    aheadNs = BigInt(minuteMs - 10_000) * 1_000_000n
    await open({ disk })
    assert.is(await length(), 2, 'taken away before its time')
    aheadNs = BigInt(minuteMs + 1) * 1_000_000n
    await open({ disk })
    assert.equal(await namesIn(folder, '.tmp', 'trash'), ['.nfs000000000000000100000001'])
  }),
)

nfs('what the process itself has deleted goes in its time', () =>
  withExport(async ({ folder, open }) => {
    const backend = await open({ trashDelayMs: 100 })
    await backend.put('a/backing', bytesOf('x'))
    await backend.delete('a/backing')
    for (let waits = 0; (await namesIn(folder, '.tmp', 'trash')).length > 0; waits += 1) {
      assert.ok(waits < 1_000, 'it is still there')
      await new Promise((resolve) => setTimeout(resolve, 20))
    }
  }),
)

nfs(
  'failures name the user, the path and the export, also those that Node.js has no name for',
  () =>
    withExport(async ({ folder, open }) => {
      let failure: Error | undefined
      const disk = hookedDisk((verb) => {
        if (verb === 'datasync' && failure) throw failure
      })
      const backend = await open({ disk })
      const cases = [
        { errno: 122, name: 'EDQUOT', code: 'resource_exhausted' },
        { errno: 28, name: 'ENOSPC', code: 'resource_exhausted' },
        { errno: 13, name: 'EACCES', code: 'permission_denied' },
        { errno: 30, name: 'EROFS', code: 'permission_denied' },
        { errno: 116, name: 'ESTALE', code: 'unavailable' },
        { errno: 528, name: 'E528', code: 'unavailable' },
      ] as const
      for (const { errno, name, code } of cases) {
        failure = kernelError(errno)
        const error = await refused(code, backend.put('a/backing', bytesOf('x')))
        assert.match(error.message, name)
        if (errno === 528) continue
        for (const part of ['nas:/images', folder]) assert.match(error.message, part)
      }
      failure = undefined
      assert.equal(await keys(backend), [])
      for await (const { id } of backend.unfinished()) assert.unreachable(`left: ${id}`)
    }),
)

nfs('what is stale is looked for anew, and not for ever', () =>
  withExport(async ({ open }) => {
    let times = 0
    const disk = hookedDisk((verb, path) => {
      if (verb === 'lstat' && path.endsWith('/a/backing') && times-- > 0) throw kernelError(116)
    })
    const backend = await open({ disk })
    await backend.put('a/backing', bytesOf('x'))
    times = 3
    assert.is((await backend.stat('a/backing')).size, 1)
    times = Infinity
    await refused('unavailable', backend.stat('a/backing'))
  }),
)

nfs('a folder that another has put in place of the store is neither read nor filled', () =>
  withExport(async ({ folder, open }) => {
    let isGone = false
    const readMounts = (): Promise<string> =>
      Promise.resolve(mountsOf(folder, 'rw', isGone ? 'ext4' : 'nfs4'))
    // Another device from the moment that the mount has gone.
    const disk: Disk = {
      ...nodeDisk,
      open: async (path, flags, mode) => {
        const file = await nodeDisk.open(path, flags, mode)
        const stat = async (): ReturnType<typeof file.stat> => {
          const stats = await file.stat()
          if (isGone) stats.dev += 1n
          return stats
        }
        return { ...callsOf(file), stat }
      },
    }
    const backend = await open({ disk, readMounts })
    await backend.put('a/backing', bytesOf('x'))
    isGone = true
    const works = [
      (): Promise<unknown> => backend.put('b/backing', bytesOf('x')),
      (): Promise<unknown> => backend.get('a/backing'),
      (): Promise<unknown> => keys(backend),
    ]
    for (const work of works) {
      const error = await refused('unavailable', work())
      assert.match(error.message, 'no longer the store')
    }
    isGone = false
    assert.equal(await keys(backend), ['a/backing'])
  }),
)

nfs('what can lose data or show what is old is found', () =>
  withExport(async ({ folder, open }) => {
    const warned = async (options: string): Promise<string[]> => {
      const readMounts = (): Promise<string> => Promise.resolve(mountsOf(folder, options))
      const backend = await open({ readMounts })
      assert.is(backend.writeRefusal, undefined)
      return backend.findings.filter(({ level }) => level !== 'ok').map(({ what }) => what)
    }
    const short = 'acregmin=1,acregmax=1,acdirmin=1,acdirmax=1'
    assert.equal(await warned(`rw,vers=3,hard,${short},lookupcache=pos`), [])
    assert.equal(await warned('rw,vers=3,hard,noac'), [])
    assert.equal(await warned('rw,vers=3,hard'), ['caching'])
    assert.equal(await warned(`rw,vers=3,soft,nocto,${short},lookupcache=none`), [
      'patience',
      'close-to-open',
    ])
    assert.equal(await warned(`rw,vers=3,softerr,${short},lookupcache=all`), [
      'patience',
      'caching',
    ])
  }),
)

nfs.run()
