// Names in clusters are given once; what is told of a cluster reaches every process.

import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { bytesOf } from './backend.ts'
import { type ClusterStatus, Clusters, type Registration } from './clusters.ts'
import { isCluster, parseClusterKey, registrationKey } from './layout.ts'
import { MemoryBackend, MemoryStore } from './testing/memory.ts'

const clusters = suite('clusters')

const registration: Registration = {
  cluster: 'one',
  registeredAs: 'debian',
  name: 'debian',
  version: '1',
  uuid: '0123abcd',
  url: 'http://images.example.org/files/debian-0123abcd/-/debian-1.img',
  createdAt: '2026-01-01T00:00:00.000Z',
}

function two(): { one: Clusters; other: Clusters; backend: MemoryBackend } {
  const shared = new MemoryStore()
  const backend = new MemoryBackend({ shared })
  return { one: new Clusters(backend), other: new Clusters(new MemoryBackend({ shared })), backend }
}

clusters('a name is given once in each cluster, also to two at the same moment', async () => {
  const { one, other } = two()
  const given = await Promise.all([one.reserve(registration), other.reserve(registration)])
  assert.is(given.filter(Boolean).length, 1)
  assert.is(await one.reserve({ ...registration, cluster: 'two' }), true)
  assert.is((await other.registrations()).length, 2)
  assert.equal(
    (await other.registrations('one')).map(({ cluster }) => cluster),
    ['one'],
  )
})

clusters('what has changed or gone is seen by others at their next look', async () => {
  const { one, other } = two()
  await one.reserve(registration)
  await other.registrations()
  await one.update({ ...registration, retiredAt: '2026-01-02T00:00:00.000Z' })
  const [seen] = await other.registrations('one')
  assert.is(seen?.retiredAt, '2026-01-02T00:00:00.000Z')
  await one.remove(registration)
  assert.equal(await other.registrations(), [])
  assert.is(await other.registration('one', 'debian'), undefined)
  assert.is(await other.reserve(registration), true)
})

clusters('what can not be read is none, and its name stays taken', async () => {
  const { one, backend } = two()
  await backend.put(registrationKey('one', 'debian'), bytesOf('{"name":'))
  await backend.put(registrationKey('one', 'half'), bytesOf('{"name":"half"}'))
  await backend.put('.longhorn/one/more/debian.json', bytesOf('{}'))
  assert.equal(await one.registrations(), [])
  assert.is(await one.registration('one', 'debian'), undefined)
  assert.is(await one.reserve(registration), false)
})

clusters('the status of each cluster is that which was told last', async () => {
  const { one, other } = two()
  const disks = { 'disk-1': { state: 'ready', progress: 100, message: '' } }
  const images = { 'debian-0123abcd': { name: 'debian', state: 'ready', message: '', disks } }
  const status: ClusterStatus = { cluster: 'one', at: 'now', isReached: true, message: '', images }
  await one.tell({ ...status, images: {} })
  assert.equal((await other.statuses())[0]?.images, {})
  await one.tell(status)
  assert.equal(await other.statuses(), [status])
  await one.reserve(registration)
  assert.is((await other.statuses()).length, 1)
})

clusters('keys are read back, and no text that is none names a cluster', () => {
  assert.equal(parseClusterKey(registrationKey('one', 'debian-2')), {
    cluster: 'one',
    kind: 'registration',
    registeredAs: 'debian-2',
  })
  assert.is(parseClusterKey('.longhorn/one/LEADER.json')?.kind, 'leader')
  assert.is(parseClusterKey('.longhorn/one/OTHER.json'), undefined)
  assert.is(parseClusterKey('.longhorn/../debian.json'), undefined)
  for (const bad of ['', '.', '..', '-a', 'a/b', 'a b', 'x'.repeat(65)])
    assert.not.ok(isCluster(bad), bad)
})

clusters.run()
