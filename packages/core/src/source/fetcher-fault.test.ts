// What a server does wrong ends a request or its body with an error of the right kind, and a server
// that is only slow, or a reader that is, with none.

import { once } from 'node:events'
import type { ServerResponse } from 'node:http'
import { type Socket, createServer } from 'node:net'
import type { AddressInfo, Server } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { readAll } from '../backend.ts'
import { Web } from '../testing/web.ts'
import { SourceError, sourceFailure } from './failure.ts'
import type { Fetcher } from './fetcher.ts'
import { assertFailure, faults, withFetcher } from './testing/reading.ts'

const tests = suite('fetcher: faults')

let web: Web
tests.before.each(async () => {
  web = await Web.start()
})
tests.after.each(async () => {
  await web.stop()
})

const content = Buffer.alloc(300_000, 'content')

async function readWhole(fetcher: Fetcher, url: URL): Promise<Buffer> {
  return await readAll((await fetcher.get(url)).body)
}

/** A server of a protocol of its own. */
async function wire(
  speak: (socket: Socket) => void,
  work: (url: URL) => Promise<void>,
): Promise<void> {
  const sockets = new Set<Socket>()
  const server: Server = createServer((socket) => {
    sockets.add(socket.on('error', () => {}))
    speak(socket)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  await work(new URL(`http://127.0.0.1:${port}/`)).finally(() => {
    for (const socket of sockets) socket.destroy()
    server.close()
  })
}

/** Answers each request with these bytes, and ends the connection. */
function saying(text: string): (socket: Socket) => void {
  return (socket) => socket.once('data', () => socket.end(text))
}

tests('a body that ends short of what was announced throws', async () => {
  await withFetcher({}, async (fetcher) => {
    for (const framing of ['length', 'chunked'] as const) {
      for (const cutAfterBytes of [
        0,
        1,
        200_000,
        content.length - (framing === 'length' ? 1 : 0),
      ]) {
        const url = web.serve('/a', content, { framing, ...faults({ cutAfterBytes }) })
        await assertFailure(readWhole(fetcher, url), 'transient', 'the connection broke')
      }
    }
    for (const text of [
      'HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort',
      'HTTP/1.0 200 OK\r\nContent-Length: 10\r\n\r\nshort',
      'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nshort\r\n',
      'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nshort\r\n0\r\n',
      'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nA\r\nshort',
    ]) {
      await wire(saying(text), async (url) => {
        await assertFailure(readWhole(fetcher, url), 'transient', 'the connection broke')
      })
    }
    const whole = 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nshort\r\n0\r\n\r\n'
    await wire(saying(whole), async (url) => {
      assert.is((await readWhole(fetcher, url)).toString(), 'short')
    })
  })
})

tests('what is no HTTP is a failure, and what has too large a head a final one', async () => {
  await withFetcher({}, async (fetcher) => {
    for (const text of [
      'nonsense\r\n\r\n',
      'HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx',
      'HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n',
      'HTTP/1.1 200 OK\r\nBad Field: x\r\n\r\n',
    ]) {
      await wire(saying(text), async (url) => {
        await assertFailure(readWhole(fetcher, url), 'transient', 'its answer is no HTTP (HPE_')
      })
    }
    const garbage = 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nshort\r\nzz\r\n'
    await wire(saying(garbage), async (url) => {
      await assertFailure(readWhole(fetcher, url), 'transient', /\(HPE_|the connection broke/)
    })
    await wire(saying(''), async (url) => {
      await assertFailure(fetcher.get(url), 'transient', 'the connection broke')
    })
    const large = `HTTP/1.1 200 OK\r\nX-Large: ${'x'.repeat(64 * 1024)}\r\n\r\n`
    await wire(saying(large), async (url) => {
      await assertFailure(fetcher.get(url), 'permanent', 'the head of its answer is too large')
    })
  })
})

const switching = 'HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n'

/** Fails the test rather than hang it. */
async function settled<T>(work: Promise<T>): Promise<T> {
  const late = delay(5_000, undefined, { ref: false }).then(() => {
    throw new Error('It never ended.')
  })
  return await Promise.race([work, late])
}

tests(
  'an answer that switches protocols is a final failure, and its connection is left',
  async () => {
    await withFetcher({ idleTimeoutMs: 200 }, async (fetcher) => {
      const closed: Promise<unknown>[] = []
      const speak = (socket: Socket): void => {
        closed.push(once(socket, 'close'))
        socket.once('data', () => socket.write(`${switching}and more`))
      }
      await wire(speak, async (url) => {
        const message = 'it answered 101 Switching Protocols'
        await assertFailure(settled(fetcher.get(url)), 'permanent', message)
        const away = settled(fetcher.get(web.redirect('/away', url)))
        await assertFailure(away, 'permanent', message)
        await settled(Promise.all(closed))
        assert.is(closed.length, 2)
      })
      // Without the fields that make it one.
      await wire(saying('HTTP/1.1 101 X\r\n\r\n'), async (url) => {
        await assertFailure(settled(fetcher.get(url)), 'permanent', 'it answered 101')
      })
    })
  },
)

tests('also on a connection that was kept it is asked for once', async () => {
  await withFetcher({}, async (fetcher) => {
    let requests = 0
    const speak = (socket: Socket): unknown =>
      socket.on('data', () => {
        requests += 1
        socket.write(requests === 1 ? 'HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx' : switching)
      })
    await wire(speak, async (url) => {
      assert.is((await readWhole(fetcher, url)).toString(), 'x')
      await delay(20)
      await assertFailure(settled(fetcher.get(url)), 'permanent', 'it answered 101')
      assert.is(requests, 2)
    })
  })
})

tests('only gzip may be around the bytes, and says so', async () => {
  await withFetcher({}, async (fetcher) => {
    for (const encoding of ['gzip', 'x-gzip', 'GZIP', 'identity', 'Identity']) {
      const headers = { 'content-encoding': encoding }
      const answer = await fetcher.get(web.serve('/a', content, faults({ headers })))
      assert.ok((await readAll(answer.body)).equals(content), 'the bytes were touched')
    }
    for (const encoding of ['br', 'zstd', 'deflate', 'gzip, br', 'gzip, gzip', 'aws-chunked']) {
      const headers = { 'content-encoding': encoding }
      const url = web.serve('/a', content, faults({ headers }))
      await assertFailure(
        fetcher.get(url),
        'permanent',
        `it is encoded as ${JSON.stringify(encoding)}`,
      )
    }
    const transfer = 'HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n'
    await wire(saying(transfer), async (url) => {
      await assertFailure(fetcher.get(url), 'permanent', 'it is encoded as "gzip, chunked"')
    })
  })
})

tests('nothing for too long is a failure: of a head, a body, a handshake', async () => {
  await withFetcher({ idleTimeoutMs: 100 }, async (fetcher) => {
    const idle = 'nothing came for 0.1 s'
    const silent = web.serve('/a', content, faults({ isSilent: true }))
    await assertFailure(fetcher.get(silent), 'transient', idle)
    const stall = web.serve('/b', content, faults({ stallAfterBytes: 100_000 }))
    await assertFailure(readWhole(fetcher, stall), 'transient', idle)
    await wire(
      () => {},
      async (url) => {
        url.protocol = 'https:'
        await assertFailure(fetcher.get(url), 'transient', idle)
      },
    )
    const head = (socket: Socket): unknown => socket.write('HTTP/1.1 200 OK\r\nX-Part:')
    await wire(head, async (url) => {
      await assertFailure(fetcher.get(url), 'transient', idle)
    })
  })
  const resolve = (): Promise<never> => new Promise(() => {})
  await withFetcher({ idleTimeoutMs: 100, resolve }, async (fetcher) => {
    await assertFailure(fetcher.get(web.url('/a', 'a.test')), 'transient', 'nothing came')
  })
})

tests('bytes that trickle are bytes, as long as they come', async () => {
  const small = Buffer.from('twelve bytes')
  // Slower than the limit over all, but each pause is far below it.
  const trickle = { bytes: 1, pauseMs: 150 }
  await withFetcher({ idleTimeoutMs: 1_500 }, async (fetcher) => {
    const url = web.serve('/a', small, faults({ trickle }))
    assert.is((await readWhole(fetcher, url)).toString(), 'twelve bytes')
  })
  await withFetcher({ idleTimeoutMs: 100 }, async (fetcher) => {
    const slow = web.serve('/b', small, faults({ trickle: { bytes: 1, pauseMs: 100_000 } }))
    await assertFailure(readWhole(fetcher, slow), 'transient', 'nothing came for 0.1 s')
  })
})

tests('a reader that is slow is no server that is', async () => {
  await withFetcher({ idleTimeoutMs: 1_000 }, async (fetcher) => {
    let length = 0
    const { body } = await fetcher.get(web.serve('/a', content))
    await delay(1_200)
    for await (const chunk of body) {
      if (length === 0) await delay(1_200)
      length += chunk.length
    }
    assert.is(length, content.length)
  })
})

tests('what came while this process was busy counts', async () => {
  await withFetcher({ idleTimeoutMs: 1_000 }, async (fetcher) => {
    let response: ServerResponse | undefined
    const url = web.on('/a', (_, own) => {
      response = own
      own.write('first')
    })
    const { body } = await fetcher.get(url)
    const chunks = body[Symbol.asyncIterator]()
    const read = async (): Promise<string> => String((await chunks.next()).value)
    assert.is(await read(), 'first')
    const next = read()
    await delay(10)
    // It is there before the time is over, and can not be looked at until long after.
    response?.write('second')
    const untilMs = performance.now() + 1_200
    while (performance.now() < untilMs) Math.sqrt(untilMs)
    assert.is(await next, 'second')
    response?.end('third')
    assert.is(await read(), 'third')
  })
})

tests('an abort ends it with its reason, before, while it waits and while bytes come', async () => {
  await withFetcher({}, async (fetcher) => {
    const reason = new Error('enough')
    const early = AbortSignal.abort(reason)
    const endOf = (work: Promise<unknown>): Promise<unknown> =>
      work.then(
        () => undefined,
        (error: unknown) => error,
      )
    assert.is(await endOf(fetcher.get(web.url('/a'), { signal: early })), reason)
    assert.is(web.requests.length, 0)
    for (const [path, fault] of [
      ['/silent', { isSilent: true }],
      ['/stalls', { stallAfterBytes: 1000 }],
    ] as const) {
      const caller = new AbortController()
      const { signal } = caller
      const url = web.serve(path, content, faults(fault))
      const reading = fetcher.get(url, { signal }).then(({ body }) => readAll(body))
      setTimeout(() => caller.abort(reason), 50)
      assert.is(await endOf(reading), reason)
    }
  })
})

tests('a mistake of ours is not taken for an outage', () => {
  const mistake = Object.assign(new TypeError('x'), { code: 'ERR_INVALID_ARG_TYPE' })
  assert.is(sourceFailure(mistake, 'http://a'), mistake)
  const plain = new Error('x')
  assert.is(sourceFailure(plain, 'http://a'), plain)
  const network = Object.assign(new Error('x'), { code: 'EHOSTUNREACH' })
  assert.instance(sourceFailure(network, 'http://a'), SourceError)
})

tests.run()
