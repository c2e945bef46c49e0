// Puts that go on where another has stopped, on real NFS, between two clients in a guest.

import { suite } from 'uvu'
import { passes } from './nfs-guest.js'

const nfs = suite('nfs: what puts leave')

for (const version of ['4.2', '3']) {
  nfs(`what one client has left another goes on with, by NFS ${version}`, () =>
    passes('nfs-conformance.js', version, { cases: 'remains' }),
  )
}

nfs.run()
