// In the guest: bytes that go bad on an NFS mount. ACTS names those of the cases that are to be tried.

import { NfsPlace } from '../durability/place.js'
import { testScrubs } from '../scrub/cases.js'

testScrubs('scrubs of NFS', {
  acts: process.env.ACTS.split(' '),
  open: async () => async (name) => new NfsPlace(`/mnt/nfs/${name}`),
  openPeer: async (name) => new NfsPlace(`/mnt/nfs/peer-of-${name}`),
})
