// The NFS backend on real NFS: the Linux kernel's server, and two clients of it, in a guest.

import { suite } from 'uvu'
import { passes } from './nfs-guest.js'

const nfs = suite('nfs')

nfs('the contract of every backend holds between two clients, by NFS 4.2 and NFS 3', async () => {
  await Promise.all(['4.2', '3'].map((version) => passes('nfs-conformance.js', version)))
})

nfs('what is particular to NFS is seen to', () => passes('nfs-cases.js', '4.2'))

nfs.run()
