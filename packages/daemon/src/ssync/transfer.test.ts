// A sender and a receiver together, over the loopback: what arrives is what was sent, holes as holes,
// and when it does not, both sides are told.

import { randomBytes } from 'node:crypto'
import { open, readFile, stat, truncate, writeFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import { type AddressInfo, createServer as createRelay, connect } from 'node:net'
import { join } from 'node:path'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { type SendOptions, sendFile } from './sender.ts'
import { type Rig, addressOf, failureOf, receiving, sha512 } from './testing/receiving.ts'

const transfer = suite('ssync: from a sender to a receiver')
const mebibyte = 1024 * 1024
const noQemuImg = '/nowhere/qemu-img'

/** Where there is something to send, and what else sendFile wants. */
async function source(
  { root, disk, stop }: Rig,
  content: Buffer = randomBytes(5 * mebibyte),
): Promise<Omit<SendOptions, 'address'>> {
  const path = join(root, 'source')
  await writeFile(path, content)
  return { path, disk, signal: stop.signal }
}

const contents: [string, () => Buffer][] = [
  ['of random bytes', () => randomBytes(9 * mebibyte)],
  ['with an odd end', () => randomBytes(2 * mebibyte + 1)],
  ['of one byte', () => Buffer.from('x')],
  ['without bytes', () => Buffer.alloc(0)],
  ['of zeros', () => Buffer.alloc(5 * mebibyte)],
  ['that ends in zeros', () => Buffer.concat([randomBytes(4096), Buffer.alloc(9 * mebibyte)])],
]
for (const [what, make] of contents) {
  transfer(
    `a file ${what} arrives`,
    receiving(async (rig) => {
      const content = make()
      const options = await source(rig, content)
      const receiver = await rig.listen()
      await sendFile({ ...options, address: addressOf(receiver) })
      const received = await receiver.received
      assert.is(received.missingBytes, 0)
      assert.ok((await readFile(rig.path)).equals(content))
      assert.is(received.sha512, sha512(content))
      await received.temporary.discard()
    }),
  )
}

for (const qemuImg of [undefined, noQemuImg]) {
  transfer(
    `a sparse file arrives as one, ${qemuImg ? 'without' : 'with'} a program that knows its holes`,
    receiving(async (rig) => {
      const path = join(rig.root, 'source')
      const file = await open(path, 'wx')
      for (let at = 0; at < 64; at += 8) {
        await file.write(randomBytes(12_345), 0, 12_345, at * mebibyte + 777)
      }
      await file.truncate(64 * mebibyte + 512)
      await file.close()
      const { disk, stop } = rig
      const receiver = await rig.listen()
      const address = addressOf(receiver)
      const options = { path, disk, address, signal: stop.signal }
      await sendFile({ ...options, ...(qemuImg !== undefined && { qemuImg }) })
      const received = await receiver.received
      // Eight parts of at most four blocks, and some for the file system itself.
      assert.ok((await stat(rig.path)).blocks * 512 <= (8 * 4 + 8) * 4096)
      assert.is(received.sha512, sha512(await readFile(path)))
      await received.temporary.discard()
    }),
  )
}

transfer(
  'a receiver that comes late is waited for',
  receiving(async (rig) => {
    const options = await source(rig)
    const first = await rig.listen()
    const { port } = first
    await first.close()
    const sending = sendFile({ ...options, address: `127.0.0.1:${port}` })
    await new Promise((resolve) => setTimeout(resolve, 300))
    const receiver = await rig.listen({ port })
    await sending
    const content = await readFile(options.path)
    assert.is((await receiver.received).sha512, sha512(content))
  }),
)

transfer(
  'a receiver that never comes is waited for only so long',
  receiving(async (rig) => {
    const options = await source(rig)
    const receiver = await rig.listen()
    const address = addressOf(receiver)
    await receiver.close()
    const error = await failureOf(sendFile({ ...options, address, openTimeoutMs: 50 }))
    assert.is(error.code, 'unavailable')
    assert.match(error.message, address)
  }),
)

transfer(
  'a connection that breaks in the middle fails both sides, and the receiver keeps nothing',
  receiving(async (rig) => {
    const options = await source(rig, randomBytes(32 * mebibyte))
    const receiver = await rig.listen({ idleTimeoutMs: 300 })
    let passed = 0
    const relay = createRelay((socket) => {
      const onward = connect(receiver.port, '127.0.0.1')
      for (const each of [socket, onward]) each.on('error', () => {})
      socket.on('data', (chunk) => {
        passed += chunk.length
        if (passed <= 10 * mebibyte) return onward.write(chunk)
        relay.close()
        onward.destroy()
        return socket.destroy()
      })
      onward.pipe(socket)
      socket.on('close', () => onward.destroy())
    })
    await new Promise<void>((resolve) => relay.listen(0, '127.0.0.1', resolve))
    const { port } = relay.address() as AddressInfo
    const error = await failureOf(sendFile({ ...options, address: `127.0.0.1:${port}` }))
    assert.is(error.code, 'unavailable')
    relay.close()
    assert.match((await failureOf(receiver.received)).message, /asked for nothing|lost on the way/)
  }),
)

transfer(
  'a receiver that ends fails the sender',
  receiving(async (rig) => {
    const options = await source(rig, randomBytes(32 * mebibyte))
    const receiver = await rig.listen({ onProgress: () => void receiver.close() })
    const error = await failureOf(sendFile({ ...options, address: addressOf(receiver) }))
    assert.match(error.code ?? '', /unavailable|failed_precondition/)
  }),
)

transfer(
  'a sender that is stopped says so, and closes',
  receiving(async (rig) => {
    const options = await source(rig, randomBytes(32 * mebibyte))
    const stop = new AbortController()
    const onProgress = (): void => stop.abort(new Error('It was stopped.'))
    const receiver = await rig.listen({ onProgress })
    const { signal } = stop
    const error = await failureOf(sendFile({ ...options, address: addressOf(receiver), signal }))
    assert.is(error.message, 'It was stopped.')
    // It was told to close: nobody waits for the idle time-out.
    const received = await receiver.received.catch((reason: unknown) => reason as Error)
    if (received instanceof Error) assert.match(received.message, /lost on the way/)
    else assert.ok(received.missingBytes > 0)
  }),
)

/** Answers all requests with what `answer` gives for their path; nothing where that is undefined. */
async function withServer(
  answer: (path: string) => [number, string] | undefined,
  test: (address: string, asked: string[]) => Promise<void>,
): Promise<void> {
  const asked: string[] = []
  const server = createServer((request, response) => {
    const path = (request.url ?? '').replace('/v1-ssync/', '')
    asked.push(`${request.method} ${path}`)
    request.resume()
    const answered = answer(path)
    if (answered) response.writeHead(answered[0]).end(answered[1])
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  try {
    await test(`127.0.0.1:${(server.address() as AddressInfo).port}`, asked)
  } finally {
    server.close()
    server.closeAllConnections()
  }
}

transfer(
  'a sender asks in the words of Longhorn, and sends no zeros',
  receiving(async (rig) => {
    const some = randomBytes(2 * mebibyte)
    const content = Buffer.concat([some, Buffer.alloc(2 * mebibyte), some.subarray(9)])
    const options = await source(rig, content)
    await withServer(
      () => [200, 'false'],
      async (address, asked) => {
        await sendFile({ ...options, qemuImg: noQemuImg, address })
        const size = content.length
        // They are under way at once.
        assert.equal(asked.slice(1, -1).toSorted(), [
          `POST sendHole?begin=${2 * mebibyte}&end=${4 * mebibyte}`,
          `POST writeData?begin=0&end=${2 * mebibyte}`,
          `POST writeData?begin=${4 * mebibyte}&end=${size}`,
        ])
        assert.is(asked[0], `GET open?begin=0&directIO=false&end=${size}`)
        assert.is(asked.at(-1), 'POST close?checksum=&checksumMethod=')
      },
    )
  }),
)

const refusals: [string, (path: string) => [number, string] | undefined, RegExp][] = [
  ['that refuses to open', () => [500, 'no room'], /open with 500.*no room/],
  ['that redirects', () => [302, ''], /open with 302/],
  ['that refuses data', (path) => (path.startsWith('w') ? [500, 'full'] : [200, '']), /500.*full/],
  ['that takes too long', (path) => (path.startsWith('w') ? undefined : [200, '']), /took over/],
  ['that says too much', () => [200, 'x'.repeat(100_000)], /too long/],
]
for (const [what, answer, words] of refusals) {
  transfer(
    `a receiver ${what} fails the sender, which always closes`,
    receiving(async (rig) => {
      const options = { ...(await source(rig)), requestTimeoutMs: 300, openTimeoutMs: 1 }
      await withServer(answer, async (address, asked) => {
        assert.match((await failureOf(sendFile({ ...options, address }))).message, words)
        assert.match(asked.at(-1) ?? '', /^POST close/)
      })
    }),
  )
}

for (const address of [
  '',
  'host:port',
  '127.0.0.1:1/x',
  'u@127.0.0.1:1',
  '127.0.0.1:1?x',
  'a b:1',
]) {
  transfer(
    `"${address}" is no address`,
    receiving(async (rig) => {
      const error = await failureOf(sendFile({ ...(await source(rig)), address }))
      assert.is(error.code, 'invalid_argument')
    }),
  )
}

transfer(
  'a file that is not there is told, and nobody is asked',
  receiving(async (rig) => {
    const options = await source(rig)
    const error = await failureOf(
      sendFile({ ...options, path: join(rig.root, 'none'), address: '127.0.0.1:1' }),
    )
    assert.is(error.code, 'not_found')
  }),
)

transfer(
  'a file that becomes shorter while it is sent is not taken for zeros',
  receiving(async (rig) => {
    const options = await source(rig, randomBytes(32 * mebibyte))
    const onProgress = (): void => void truncate(options.path, 0)
    const receiver = await rig.listen({ onProgress })
    const error = await failureOf(
      sendFile({ ...options, qemuImg: noQemuImg, address: addressOf(receiver) }),
    )
    assert.is(error.code, 'data_loss')
  }),
)

transfer(
  'no proxy is asked',
  receiving(async (rig) => {
    const options = await source(rig)
    const receiver = await rig.listen()
    process.env['http_proxy'] = 'http://127.0.0.1:1'
    try {
      await sendFile({ ...options, address: addressOf(receiver) })
    } finally {
      delete process.env['http_proxy']
    }
    const { temporary } = await receiver.received
    await temporary.discard()
  }),
)

transfer.run()
