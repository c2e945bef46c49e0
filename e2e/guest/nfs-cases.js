// In the guest: what is particular to NFS, with two clients of one server.

import { execFileSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { chmodSync, mkdirSync, readFileSync, readdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { NfsBackend } from '../../packages/backend-nfs/dist/index.js'
import { bytesOf, isImageError, readAll } from '../../packages/core/dist/index.js'
import { until } from '../machine.js'
import { startNfsServer, stopNfsServer } from './nfs-server.js'
import { freshStore, keys, mount, mountPoints, refused, withBackends } from './nfs-stores.js'

const nfs = suite('nfs')
const mebibyte = 1024 * 1024
const own = '/mnt/own'

nfs(
  'an export is mounted with what server and client both have, and unmounted at the end',
  async () => {
    const notices = []
    // Only by version 3 is this the path of an export.
    const at = { server: '127.0.0.1', exportPath: '/srv/nfs' }
    const options = { path: own, mount: at, onNotice: (text) => notices.push(text) }
    await withBackends([options], async (backend) => {
      assert.match(backend.findings.map(({ text }) => text).join('\n'), 'NFS 3')
      assert.is(
        notices.filter((text) => /can not be mounted/.test(text)).length,
        3,
        notices.join('\n'),
      )
      const shown = readFileSync('/proc/self/mountinfo', 'utf8').split('\n')
      const line = shown.find((each) => each.includes(` ${own} `))
      for (const part of [
        'vers=3',
        'hard',
        'timeo=50',
        'acregmax=1',
        'lookupcache=pos',
        'nolock',
      ]) {
        assert.match(line, part)
      }
      await backend.put('a/backing', bytesOf('mine'))
      // Another server on this machine uses the mount, and leaves it to whom it belongs.
      await withBackends([options], async (second) => {
        assert.is((await readAll(await second.get('a/backing'))).toString(), 'mine')
        assert.is(second.storageId, backend.storageId)
      })
      assert.ok(mountPoints().includes(own), 'somebody else unmounted it')
      await backend.delete('a/backing')
    })
    assert.not(mountPoints().includes(own), 'it is still mounted')
    rmSync('/srv/nfs/.backing-image-store.json')
  },
)

nfs('the newest version is taken, and options of the operator win', async () => {
  const at = { server: '127.0.0.1', exportPath: '/nfs' }
  await withBackends([{ path: own, mount: at }], async (backend) => {
    assert.match(backend.findings[0].text, 'NFS 4.2')
  })
  const options = 'nfsvers=4.0,actimeo=3'
  await withBackends([{ path: own, mount: { ...at, options } }], async (backend) => {
    assert.match(backend.findings[0].text, 'NFS 4.0')
    assert.match(readFileSync('/proc/self/mountinfo', 'utf8'), 'acregmax=3')
  })
  rmSync('/srv/nfs/.backing-image-store.json')
})

nfs('what is mounted elsewhere, or not at all, is refused', async () => {
  const at = { server: '127.0.0.1', exportPath: '/small' }
  const taken = await refused(
    'failed_precondition',
    NfsBackend.open({ path: '/mnt/nfs', mount: at }),
  )
  assert.match(taken.message, '127.0.0.1:/nfs')
  mkdirSync('/mnt/nothing')
  const local = await refused('failed_precondition', NfsBackend.open({ path: '/mnt/nothing' }))
  assert.match(local.message, 'is not an NFS mount')
  assert.equal(readdirSync('/mnt/nothing'), [])
  const missing = { server: '127.0.0.1', exportPath: '/no/such' }
  const wrong = await refused('failed_precondition', NfsBackend.open({ path: own, mount: missing }))
  for (const part of ['127.0.0.1:/no/such', own, 'ser 0']) assert.match(wrong.message, part)
  assert.not(mountPoints().includes(own))
})

nfs('servers that start together on a fresh export agree on its id', async () => {
  for (let round = 0; round < 5; round += 1) {
    const { one, two } = freshStore()
    const opened = await Promise.all([one, two, one, two].map((path) => NfsBackend.open({ path })))
    assert.is(new Set(opened.map(({ storageId }) => storageId)).size, 1)
    assert.equal(await keys(opened[0]), [])
    for (const each of opened) await each.close()
  }
})

nfs('with a storage id a wrong or empty export is refused, and stays as it is', async () => {
  const { one, two } = freshStore()
  const empty = await refused('failed_precondition', NfsBackend.open({ path: one, storageId: 'x' }))
  assert.is(empty.actual, 'none')
  assert.equal(readdirSync(one), [])
  await withBackends([{ path: one }], async ({ storageId }) => {
    await withBackends([{ path: two, storageId }], async () => {})
    const wrong = await refused(
      'failed_precondition',
      NfsBackend.open({ path: two, storageId: 'x' }),
    )
    assert.equal([wrong.expected, wrong.actual], ['x', storageId])
  })
})

nfs('of two clients that publish one key exactly one wins', async () => {
  const { one, two } = freshStore()
  await withBackends([{ path: one }, { path: two }], async (...both) => {
    for (let round = 0; round < 25; round += 1) {
      const key = `.catalog/race/${round}.json`
      const put = (by, body) => by.put(key, bytesOf(body), { ifAbsent: true })
      const ends = await Promise.allSettled(both.map((by, index) => put(by, `by ${index}`)))
      const won = ends.findIndex(({ status }) => status === 'fulfilled')
      assert.is(ends.filter(({ status }) => status === 'fulfilled').length, 1)
      assert.ok(isImageError(ends[1 - won].reason, 'already_exists'), String(ends[1 - won].reason))
      for (const by of both) {
        assert.is((await readAll(await by.get(key))).toString(), `by ${won}`)
        assert.ok((await keys(by, '.catalog/race/')).includes(key))
      }
      // A name that another client has just freed is free.
      await both[won].delete(key)
      await put(both[1 - won], 'again')
    }
  })
})

nfs(
  'an image that another client deletes is read to its end, and goes when its time is over',
  async () => {
    const { one, two } = freshStore()
    const bodies = randomBytes(8 * mebibyte)
    const paths = [
      { path: one, trashDelayMs: 4_000 },
      { path: two, trashDelayMs: 4_000 },
    ]
    await withBackends(paths, async (deleter, reader) => {
      await deleter.put('a/backing', bytesOf(bodies))
      const chunks = (await reader.get('a/backing'))[Symbol.asyncIterator]()
      const read = [(await chunks.next()).value]
      await deleter.delete('a/backing')
      await refused('not_found', reader.get('a/backing'))
      await refused('not_found', reader.stat('a/backing'))
      assert.equal(await keys(reader), [])
      for (let next = await chunks.next(); !next.done; next = await chunks.next()) {
        read.push(next.value)
        await delay(200)
      }
      assert.ok(Buffer.concat(read).equals(bodies), 'other bytes')
      const trash = join(one, '.tmp', 'trash')
      await until('the trash is empty', () => readdirSync(trash).length === 0)
    })
  },
)

nfs('what a dead process has deleted goes with the next that starts', async () => {
  const { one, two } = freshStore()
  await withBackends([{ path: one }], async (backend) => {
    await backend.put('a/backing', bytesOf('x'))
    await backend.delete('a/backing')
  })
  const trash = join(one, '.tmp', 'trash')
  assert.is(readdirSync(trash).length, 1)
  await withBackends([{ path: two, trashDelayMs: 60_000 }], async () => {
    assert.is(readdirSync(trash).length, 1, 'taken away before its time')
  })
  await withBackends([{ path: two, trashDelayMs: 1 }], async () => {
    assert.equal(readdirSync(trash), [])
  })
})

nfs('a read-only export and a squashed root are named', async () => {
  mount('127.0.0.1:/readonly', '/mnt/readonly', 'vers=4.2')
  const readonly = await refused('permission_denied', NfsBackend.open({ path: '/mnt/readonly' }))
  for (const part of ['127.0.0.1:/readonly', '/mnt/readonly', 'ser 0', 'EROFS']) {
    assert.match(readonly.message, part)
  }
  mount('127.0.0.1:/squash', '/mnt/squash', 'vers=4.2')
  const squashed = await refused('permission_denied', NfsBackend.open({ path: '/mnt/squash' }))
  for (const part of ['127.0.0.1:/squash', '/mnt/squash', 'ser 0', 'EACCES', 'root_squash']) {
    assert.match(squashed.message, part)
  }
  chmodSync('/srv/squash', 0o777)
  await withBackends([{ path: '/mnt/squash' }], async ({ findings }) => {
    const owner = findings.find(({ what }) => what === 'owner')
    assert.is(owner.level, 'warn')
    assert.match(owner.text, '65534')
  })
  execFileSync('umount', ['/mnt/readonly', '/mnt/squash'])
})

nfs('a full export fails the put, and nothing is left', async () => {
  for (const [version, source] of [
    ['4.2', '10.9.0.1:/small'],
    ['3', '10.9.0.1:/srv/small'],
  ]) {
    mount(source, '/mnt/small', `vers=${version}`)
    await withBackends([{ path: '/mnt/small', lowWaterBytes: 0 }], async (backend) => {
      const chunk = randomBytes(mebibyte)
      async function* tooMuch() {
        for (let count = 0; count < 24; count += 1) yield chunk
      }
      const full = await refused('resource_exhausted', backend.put('a/backing', tooMuch()))
      for (const part of [source, '/mnt/small', 'ENOSPC']) assert.match(full.message, part)
      assert.equal(await keys(backend), [])
      for await (const { id } of backend.unfinished()) assert.unreachable(`left: ${id}`)
      await backend.put('a/backing', bytesOf(chunk))
      await backend.delete('a/backing')
    })
    execFileSync('umount', ['/mnt/small'])
    for (const name of readdirSync('/srv/small'))
      rmSync(join('/srv/small', name), { recursive: true })
  }
})

nfs('a mount that loses data, or shows what is old, is warned of', async () => {
  mount('127.0.0.1:/small', '/mnt/odd', 'vers=4.2,soft,nocto')
  await withBackends([{ path: '/mnt/odd' }], (odd) => {
    const warned = odd.findings.filter(({ level }) => level === 'warn').map(({ what }) => what)
    assert.equal(warned, ['patience', 'close-to-open', 'caching'])
  })
  execFileSync('umount', ['/mnt/odd'])
  await withBackends([{ path: '/mnt/nfs' }], ({ findings }) => {
    assert.equal(findings.find(({ level }) => level === 'warn')?.what, 'caching')
  })
  rmSync('/srv/nfs/.backing-image-store.json')
})

nfs('when the mount goes away the folder under it is not filled', async () => {
  const at = { server: '10.9.0.1', exportPath: '/small' }
  await withBackends([{ path: own, mount: at }], async (backend) => {
    await backend.put('.catalog/a/1.json', bytesOf('{}'))
    execFileSync('umount', ['-l', own])
    await refused('unavailable', backend.put('.catalog/a/2.json', bytesOf('{}')))
    await refused('unavailable', backend.get('.catalog/a/1.json'))
    await refused('unavailable', keys(backend))
    assert.equal(readdirSync(own), [])
    mount('10.9.0.1:/small', own, 'vers=4.1')
    assert.equal(await keys(backend), ['.catalog/a/1.json'])
  })
})

nfs('a server that does not answer is unavailable, in time', async () => {
  stopNfsServer()
  try {
    const at = { server: '127.0.0.1', exportPath: '/small' }
    const options = { path: '/mnt/down', mount: at, mountTimeoutMs: 8_000 }
    const down = await refused('unavailable', NfsBackend.open(options))
    for (const part of ['127.0.0.1:/small', '/mnt/down']) assert.match(down.message, part)
  } finally {
    await startNfsServer()
  }
})

nfs.run()
