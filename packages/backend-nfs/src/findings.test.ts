// What is said of mounts that this machine does not have.

import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import type { Finding } from '@backing-image/core'
import { type Mounted, findingsOf } from './findings.ts'
import { parseOptions } from './mountinfo.ts'

const findings = suite('findings')

function found(what: string, changes: Partial<Mounted>, version = '4.2'): Finding | undefined {
  const options = parseOptions(`rw,vers=${version},hard`)
  const all = findingsOf({
    mount: { root: '/', point: '/mnt', type: 'nfs4', source: 'nas:/images', options },
    place: { path: '/mnt', export: 'nas:/images' },
    storageId: 'rack-1',
    fileOwner: BigInt(process.geteuid?.() ?? 0),
    hostName: 'node-1',
    clientId: undefined,
    ...changes,
  })
  return all.find((each) => each.what === what)
}

findings('a host name that other machines have too is warned of where NFS 4 goes by it', () => {
  for (const hostName of ['localhost', 'localhost.localdomain', '(none)', '']) {
    assert.is(found('client name', { hostName })?.level, 'warn', hostName)
    assert.is(found('client name', { hostName }, '3')?.level, 'ok')
    assert.is(found('client name', { hostName, clientId: 'a-uuid' })?.level, 'ok')
  }
  const usual = found('client name', {})
  assert.is(usual?.level, 'ok')
  assert.match(usual?.text ?? '', 'node-1')
})

findings('a user that the server maps to another is named', () => {
  const squashed = found('owner', { fileOwner: 65_534n })
  assert.is(squashed?.level, 'warn')
  assert.match(squashed?.text ?? '', '65534')
  assert.is(found('owner', {})?.level, 'ok')
})

findings('the export, its version, the user and the store are told', () => {
  const { text } = found('export', {}) ?? { text: '' }
  for (const part of ['nas:/images', '/mnt', 'NFS 4.2', `user ${process.geteuid?.()}`]) {
    assert.match(text, part)
  }
  assert.match(found('store', {})?.text ?? '', 'rack-1')
})

findings.run()
