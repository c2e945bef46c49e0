// Every state that two publishers and three removers can reach: millions. Run by CI, and by hand with
// `node scripts/test.js packages/core/dist/publish.exhaustive.js`.

import { suite } from 'uvu'
import { assertPublishingSafe } from './testing/publishing.ts'

const protocol = suite('publish and remove, exhaustive')

protocol('two publishers and three removers in every order lose nothing acknowledged', async () => {
  await assertPublishingSafe(['b', 'c'])
})

protocol.run()
