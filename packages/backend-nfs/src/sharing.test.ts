// The same content is stored once on an export, by two servers with a mount each, and nobody loses it.

import { suite } from 'uvu'
import { runCase, sharingCases } from '@backing-image/core/testing'
import { withExport } from './testing/index.ts'

const sharing = suite('nfs: sharing')

for (const each of sharingCases) {
  sharing(each.name, () =>
    withExport(async ({ open }) => {
      const backend = await open()
      const other = await open()
      await runCase(each, () => Promise.resolve({ backend, other, close: async () => {} }))
    }),
  )
}

sharing.run()
