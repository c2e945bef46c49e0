// The same content is stored once on a disk, by two servers over one folder, and nobody loses it.

import { suite } from 'uvu'
import { runCase, sharingCases } from '@backing-image/core/testing'
import { LocalBackend } from './index.ts'
import { openFiles, temporaries, withFolder } from './testing/index.ts'

const sharing = suite('local: sharing')

for (const each of sharingCases) {
  sharing(each.name, () =>
    withFolder(async (root) => {
      await runCase(each, async () => {
        const backend = await LocalBackend.open({ root })
        const other = await LocalBackend.open({ root })
        return {
          backend,
          other,
          leftovers: async () => [...(await openFiles(root)), ...(await temporaries(root))],
          async close() {
            await backend.close()
            await other.close()
          },
        }
      })
    }),
  )
}

sharing.run()
