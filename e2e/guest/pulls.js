// In the guest: pulls that are interrupted, on an NFS mount and a second client's of the same export.
// ACTS names those of the cases that are to be tried.

import { NfsPlace } from '../durability/place.js'
import { testPulls } from '../pulls/cases.js'

testPulls('pulls on NFS', {
  // It syncs every 64 MiB. One processor, which emulates another machine.
  sizes: { size: 88, slowFrom: 72, durable: 64, small: 8 },
  acts: process.env.ACTS.split(' '),
  open: async () => async (name) => [
    new NfsPlace(`/mnt/nfs/${name}`),
    new NfsPlace(`/mnt/nfs2/${name}`),
  ],
})
