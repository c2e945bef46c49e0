// What every backend must do, by the calls for NFS on an ordinary folder.

import { suite } from 'uvu'
import { conformance, resumableConformance, runCase } from '@backing-image/core/testing'
import { unfinishedConformance } from '@backing-image/core/testing'
import { withExport } from './testing/index.ts'

const nfs = suite('nfs')

for (const each of [...conformance, ...unfinishedConformance, ...resumableConformance]) {
  nfs(each.name, () =>
    withExport(async ({ open }) => {
      const backend = await open()
      const other = await open()
      await runCase(each, () => Promise.resolve({ backend, other, close: async () => {} }))
    }),
  )
}

nfs.run()
