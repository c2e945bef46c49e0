// The contract of every backend, with two instances over one bucket of the fake server.

import { conformance, resumableConformance, runCase } from '@backing-image/core/testing'
import { type Subject, unfinishedConformance } from '@backing-image/core/testing'
import { suite } from 'uvu'
import { S3Backend } from './index.ts'
import { FakeS3 } from './testing/index.ts'
import { leftovers, settingsFor } from './testing/store.ts'

const s3 = suite('s3: conformance')

async function make(): Promise<Subject> {
  // Pages so small that long lists have many.
  const server = await FakeS3.start({ pageMax: 100 })
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
}

for (const each of [...conformance, ...unfinishedConformance, ...resumableConformance]) {
  s3(each.name, () => runCase(each, make))
}

s3.run()
