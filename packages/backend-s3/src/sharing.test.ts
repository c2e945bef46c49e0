// The same content is stored once in a bucket, by two servers over it, and nobody loses it.

import { suite } from 'uvu'
import { runCase, sharingCases } from '@backing-image/core/testing'
import { S3Backend } from './index.ts'
import { FakeS3 } from './testing/index.ts'
import { leftovers, settingsFor } from './testing/store.ts'

const sharing = suite('s3: sharing')

for (const each of sharingCases) {
  sharing(each.name, () =>
    runCase(each, async () => {
      // Pages so small that the catalog has several.
      const server = await FakeS3.start({ pageMax: 2 })
      const backend = await S3Backend.open(settingsFor(server))
      const other = await S3Backend.open(settingsFor(server))
      return {
        backend,
        other,
        leftovers: async () => leftovers(server),
        async close() {
          await backend.close()
          await other.close()
          await server.stop()
        },
      }
    }),
  )
}

sharing.run()
