// A receiver and what a sender asks of it, request by request: contract §2.7.

import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { type IncomingMessage, request } from 'node:http'
import { readdir, stat } from 'node:fs/promises'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import {
  type Requests,
  type Rig,
  asking,
  assertReceived,
  openOf,
  receiving,
  sha512,
} from './testing/receiving.ts'

const receiver = suite('ssync: receiver')
const mebibyte = 1024 * 1024

function part(verb: string, begin: number, end: number): string {
  return `${verb}?begin=${begin}&end=${end}`
}

/** A claim about the answers of a receiver whose file has been opened, and what it has in the end. */
function opened(
  size: number,
  claim: (requests: Requests, rig: Rig) => Promise<Buffer>,
): () => Promise<void> {
  return receiving(async (rig) => {
    const listening = await rig.listen()
    const content = await asking(listening, async (requests) => {
      assert.equal(await requests.get(openOf(size)), { status: 200, text: 'false' })
      const expected = await claim(requests, rig)
      assert.equal(await requests.post('close?checksum=&checksumMethod='), {
        status: 200,
        text: '',
      })
      return expected
    })
    await assertReceived(rig, await listening.received, content)
  })
}

async function taken(answer: Promise<unknown>): Promise<void> {
  assert.equal(await answer, { status: 200, text: '' })
}

receiver(
  'takes parts in any order, several at a time; its hash is that of the file',
  opened(9 * mebibyte + 512, async ({ post }, { progress }) => {
    const content = randomBytes(9 * mebibyte + 512)
    content.fill(0, 3 * mebibyte, 5 * mebibyte)
    const write = (begin: number, end: number): Promise<void> =>
      taken(post(part('writeData', begin, end), content.subarray(begin, end)))
    await write(7 * mebibyte, 9 * mebibyte)
    await Promise.all([
      taken(post(part('sendHole', 3 * mebibyte, 5 * mebibyte))),
      write(5 * mebibyte + 1, 7 * mebibyte),
      write(9 * mebibyte, content.length),
      write(1000, 3 * mebibyte),
    ])
    await write(0, 1000)
    await write(5 * mebibyte, 5 * mebibyte + 1)
    const total = progress.reduce((a, b) => a + b)
    assert.equal([progress.length, total], [6, content.length - 2 * mebibyte])
    return content
  }),
)

receiver(
  'leaves holes as holes, and blocks of zeros too',
  opened(64 * mebibyte, async ({ post }, { path }) => {
    const content = Buffer.alloc(64 * mebibyte)
    randomBytes(4096).copy(content, 40 * mebibyte)
    await taken(post(part('sendHole', 0, 40 * mebibyte)))
    const [begin, end] = [40 * mebibyte, 42 * mebibyte]
    await taken(post(part('writeData', begin, end), content.subarray(begin, end)))
    await taken(post(part('sendHole', 42 * mebibyte, 64 * mebibyte)))
    assert.ok((await stat(path)).blocks * 512 <= 64 * 1024)
    return content
  }),
)

receiver(
  'has what came last where something came twice',
  opened(2 * mebibyte, async ({ post }) => {
    const content = randomBytes(2 * mebibyte)
    content.fill(0, 4096, 8192)
    content.fill(0, mebibyte, mebibyte + 9000)
    await taken(post(part('writeData', 0, 2 * mebibyte), randomBytes(2 * mebibyte)))
    await taken(post(part('writeData', 0, 2 * mebibyte), content.subarray()))
    await taken(post(part('writeData', mebibyte, mebibyte + 9000), randomBytes(9000)))
    await taken(post(part('sendHole', mebibyte, mebibyte + 9000)))
    return content
  }),
)

receiver(
  'hashes again what was hashed before it came again',
  opened(mebibyte, async ({ post }) => {
    const content = randomBytes(mebibyte)
    await taken(post(part('writeData', 0, mebibyte), randomBytes(mebibyte)))
    // Enough for what comes first to be hashed.
    await new Promise((resolve) => setTimeout(resolve, 150))
    await taken(post(part('writeData', 0, mebibyte), content))
    return content
  }),
)

receiver(
  'writes a hole that comes again only where data has been',
  opened(64 * mebibyte, async ({ post }, { path }) => {
    await taken(post(part('writeData', 0, 4096), randomBytes(4096)))
    await taken(post(part('sendHole', 4096, 64 * mebibyte)))
    await taken(post(part('sendHole', 0, 64 * mebibyte)))
    assert.ok((await stat(path)).blocks * 512 <= 17 * mebibyte)
    return Buffer.alloc(64 * mebibyte)
  }),
)

receiver(
  'takes a last part that ends beyond the file, and parts behind it without bytes',
  opened(1024, async ({ post }, { progress }) => {
    const content = randomBytes(1024)
    await taken(post(part('writeData', 0, 4096), content))
    await taken(post(part('writeData', 4096, 8192), Buffer.alloc(0)))
    await taken(post(part('sendHole', 1024, 4096)))
    assert.equal(progress, [4096, 4096])
    return content
  }),
)

receiver(
  'tells the checksum of what has come, and null for what has not',
  opened(4096, async ({ get, post }) => {
    const content = randomBytes(4096)
    content.fill(0, 2048)
    assert.equal(await get(part('getChecksum', 0, 1)), { status: 200, text: 'null' })
    await taken(post(part('writeData', 0, 2048), content.subarray(0, 2048)))
    assert.equal(await get(part('getChecksum', 1000, 2049)), { status: 200, text: 'null' })
    const expected = Buffer.from(sha512(content.subarray(10, 2048)), 'hex').toString('base64')
    const { status, text } = await get(part('getChecksum', 10, 2048))
    assert.equal([status, JSON.parse(text)], [200, expected])
    await taken(post(part('sendHole', 2048, 4096)))
    const whole = await get(part('getChecksum', 0, 9999))
    assert.is(JSON.parse(whole.text), Buffer.from(sha512(content), 'hex').toString('base64'))
    return content
  }),
)

receiver(
  'makes no checksum of more than 64 MiB at a time',
  opened(65 * mebibyte, async ({ get, post }) => {
    await taken(post(part('sendHole', 0, 65 * mebibyte)))
    const answer = await get(part('getChecksum', 0, 65 * mebibyte))
    assert.is(answer.status, 500)
    assert.match(answer.text, /at a time/)
    return Buffer.alloc(65 * mebibyte)
  }),
)

receiver(
  'is opened again by a sender that has lost the answer, but not for another size',
  opened(512, async ({ get, post }) => {
    const content = randomBytes(512)
    await taken(post(part('writeData', 0, 512), content))
    assert.equal(await get(openOf(512)), { status: 200, text: 'false' })
    const other = await get(openOf(1024))
    assert.is(other.status, 500)
    assert.match(other.text, /512 bytes already/)
    return content
  }),
)

receiver(
  'says what is missing where a sender closes early, which is zeros then',
  receiving(async (rig) => {
    const listening = await rig.listen()
    await asking(listening, async ({ get, post }) => {
      await get(openOf(10_000_000_000))
      await taken(post(part('writeData', 512, 1024), randomBytes(512)))
      await taken(post('close'))
    })
    // It goes on hashing for long: nobody waits for that here.
    await listening.close()
    assert.equal(await readdir(rig.root), [])
    const small = await rig.listen()
    await asking(small, async ({ get, post }) => {
      await get(openOf(mebibyte))
      await taken(post('close'))
    })
    const received = await small.received
    assert.is(received.missingBytes, mebibyte)
    await assertReceived(rig, received, Buffer.alloc(mebibyte))
  }),
)

const refused: [string, 'get' | 'post', string, number, RegExp][] = [
  ['an interval without an end', 'post', 'writeData?begin=0', 500, /^end must be/],
  ['an interval without a beginning', 'post', 'sendHole?end=5', 500, /^begin must be/],
  ['a negative number', 'post', part('writeData', -4, 4), 500, /^begin must be/],
  ['a fraction', 'post', part('writeData', 0, 1.5), 500, /^end must be .* not "1.5"/],
  ['another base', 'post', 'sendHole?begin=0x0&end=512', 500, /^begin must be/],
  ['too large a number', 'post', part('sendHole', 0, 2 ** 53), 500, /^end must be/],
  ['a number far too large', 'post', 'sendHole?begin=0&end=9999999999999999999', 500, /^end must/],
  ['an end before the beginning', 'post', part('writeData', 9, 8), 500, /begin=9 is after end=8/],
  ['another size', 'get', openOf(9), 500, /is another/],
  ['an open without directIO', 'get', 'open?begin=0&end=512', 500, /^directIO must be/],
  ['directIO and a size that is odd', 'get', openOf(512, 'true'), 500, /multiple of 4096/],
  ['metadata', 'get', 'getRecordedMetadata', 404, /no such file/],
  ['another path', 'get', 'openx', 404, /^404 page not found\n$/],
  ['a path outside', 'get', '/v1/files', 404, /^404 page not found\n$/],
  ['another method', 'post', openOf(512), 405, /./],
  ['a close by GET', 'get', 'close', 405, /./],
]
for (const [what, method, verb, status, words] of refused) {
  receiver(
    `refuses ${what}, and goes on`,
    opened(mebibyte, async (requests) => {
      await taken(requests.post(part('sendHole', 0, mebibyte)))
      const answer = await requests[method](verb)
      assert.is(answer.status, status)
      assert.match(answer.text, words)
      return Buffer.alloc(mebibyte)
    }),
  )
}

receiver(
  'waits for a request that goes on, however long nobody asks for another',
  receiving(async (rig) => {
    const content = randomBytes(1000)
    const listening = await rig.listen({ idleTimeoutMs: 200 })
    await asking(listening, ({ get }) => get(openOf(1000)))
    const path = `/v1-ssync/${part('writeData', 0, 1000)}`
    const { port } = listening
    const slow = request({ port, host: '127.0.0.1', method: 'POST', path, agent: false })
    slow.write(content.subarray(0, 500))
    await new Promise((resolve) => setTimeout(resolve, 500))
    slow.end(content.subarray(500))
    const [{ statusCode }] = (await once(slow, 'response')) as [IncomingMessage]
    assert.is(statusCode, 200)
    await assertReceived(rig, await listening.received, content)
  }),
)

receiver(
  'refuses everything before it is opened, and writes nothing',
  receiving(async (rig) => {
    const listening = await rig.listen()
    await asking(listening, async ({ get, post }) => {
      for (const verb of ['writeData', 'sendHole']) {
        assert.is((await post(part(verb, 0, 4), Buffer.alloc(4))).status, 500)
      }
      assert.is((await get(part('getChecksum', 0, 4))).status, 500)
      assert.equal(await readdir(rig.root), [])
    })
  }),
)

for (const [what, end, length] of [
  ['than its interval', 1024, 1025],
  ['than the file has left', 999_999, 512 * 1024 + 1],
] as const) {
  receiver(
    `refuses a body that is longer ${what}; sent again, it is whole`,
    opened(512 * 1024, async ({ post }) => {
      const answer = await post(part('writeData', 0, end), Buffer.alloc(length, 1))
      assert.is(answer.status, 500)
      assert.match(answer.text, /More bytes came than fit/)
      const content = randomBytes(512 * 1024)
      await taken(post(part('writeData', 0, content.length), content))
      return content
    }),
  )
}

receiver.run()
