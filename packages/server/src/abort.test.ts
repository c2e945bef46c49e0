import * as assert from 'uvu/assert'
import { suite } from 'uvu'
import { follow } from './abort.ts'

const abort = suite('abort')

abort('it is aborted with the first of the others, for its reason', () => {
  const [one, two] = [new AbortController(), new AbortController()]
  const { signal } = follow(one.signal, undefined, two.signal)
  assert.is(signal.aborted, false)
  two.abort('two')
  one.abort('one')
  assert.is(signal.reason, 'two')
  assert.is(follow(one.signal).signal.reason, 'one', 'also when that was before')
})

abort('after its release it follows nobody', () => {
  const one = new AbortController()
  const { signal, release } = follow(one.signal)
  release()
  one.abort()
  assert.is(signal.aborted, false)
})

abort.run()
