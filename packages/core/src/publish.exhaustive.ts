// Every state that two publishers of the same content and three removers can reach: many millions. Run
// by CI, and by hand with `node scripts/test.js packages/core/dist/publish.exhaustive.js`.

import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import {
  alsoSharing,
  assertPublishingSafe,
  owning,
  publisher,
  record,
  remover,
  sharing,
  stored,
  sweeper,
} from './testing/publishing.ts'

const protocol = suite('publish and remove, exhaustive')

const owner = record()
const sharer = record(sharing)

function assertMany(states: number): void {
  assert.ok(states > 1_000_000, `only ${states} states`)
}

protocol('who owns the bytes and who shares them are safe from three removers', async () => {
  const removers = [remover('a', [owner]), remover('b', [sharer]), sweeper('c', owning)]
  const publishers = [publisher(owner), publisher(sharer)]
  assertMany(await assertPublishingSafe(stored([owning, sharing]), publishers, removers))
})

protocol('they are so when the spare may be removed, too', async () => {
  const removers = [remover('a', [owner]), remover('b', [sharer]), sweeper('c', sharing)]
  const publishers = [publisher(owner), publisher(sharer)]
  assertMany(await assertPublishingSafe(stored([owning, sharing]), publishers, removers))
})

protocol('two that share the bytes of a third are safe from three removers', async () => {
  const objects = stored([owning, sharing, alsoSharing], [owner])
  const removers = [remover('a', [owner]), remover('b', [sharer]), sweeper('c', owning)]
  const publishers = [publisher(sharer), publisher(record(alsoSharing))]
  assertMany(await assertPublishingSafe(objects, publishers, removers))
})

protocol.run()
