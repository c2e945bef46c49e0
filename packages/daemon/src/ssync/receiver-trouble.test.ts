// What ends a transfer before its time: nothing is left of it, nobody waits for ever, and nothing that
// is known to be wrong is taken for a file.

import { randomBytes } from 'node:crypto'
import { readdir } from 'node:fs/promises'
import { type Socket, connect } from 'node:net'
import { type GuardedDisk } from '@backing-image/backend-local'
import { ImageError } from '@backing-image/core'
import { qcow2Header, withBytes } from '@backing-image/core/testing'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import type { Receiver } from './receiver.ts'
import {
  type Requests,
  type Rig,
  asking,
  assertReceived,
  failureOf,
  openOf,
  receiving,
} from './testing/receiving.ts'

const trouble = suite('ssync: a receiver in trouble')
const mebibyte = 1024 * 1024
const content = randomBytes(2 * mebibyte)
const whole = `writeData?begin=0&end=${content.length}`

/** Begins a request and breaks it off when so many bytes of its body may have come. */
async function breakOff({ port }: Receiver, bytes: number): Promise<void> {
  const socket: Socket = connect(port, '127.0.0.1')
  socket.on('error', () => {})
  const head = `POST /v1-ssync/${whole} HTTP/1.1\r\nHost: x\r\nContent-Length: ${content.length}\r\n\r\n`
  socket.write(head)
  await new Promise<void>((resolve) => socket.write(content.subarray(0, bytes), () => resolve()))
  socket.destroy()
  await new Promise((resolve) => socket.once('close', resolve))
}

/** Claims that it ends so, and that nothing is left of it. */
async function assertFailed({ root }: Rig, receiver: Receiver, words: RegExp): Promise<Error> {
  const error = await failureOf(receiver.received)
  assert.match(error.message, words)
  assert.equal(await readdir(root), [])
  assert.match((await failureOf(asking(receiver, ({ get }) => get('close')))).message, /REFUSED/)
  return error
}

for (const bytes of [0, 1000, mebibyte + 5]) {
  trouble(
    `a part that was lost after ${bytes} bytes and did not come again is not taken for zeros`,
    receiving(async (rig) => {
      const receiver = await rig.listen()
      await asking(receiver, ({ get }) => get(openOf(content.length)))
      await breakOff(receiver, bytes)
      await asking(receiver, ({ post }) => post('close'))
      await assertFailed(rig, receiver, /were lost on the way/)
    }),
  )
}

trouble(
  'a part that was lost and came again is whole',
  receiving(async (rig) => {
    const receiver = await rig.listen()
    await asking(receiver, async ({ get, post }) => {
      await get(openOf(content.length))
      await breakOff(receiver, mebibyte)
      assert.is((await post(whole, content)).status, 200)
      await post('close')
    })
    await assertReceived(rig, await receiver.received, content)
  }),
)

trouble(
  'a sender that closes in the middle of its own request has lost it',
  receiving(async (rig) => {
    const receiver = await rig.listen()
    const socket = connect(receiver.port, '127.0.0.1')
    socket.on('error', () => {})
    await asking(receiver, async ({ get, post }) => {
      await get(openOf(content.length))
      socket.write(`POST /v1-ssync/${whole} HTTP/1.1\r\nHost: x\r\nContent-Length: 9999\r\n\r\nabc`)
      await new Promise((resolve) => setTimeout(resolve, 50))
      assert.is((await post('close')).status, 500)
    })
    await assertFailed(rig, receiver, /were lost on the way/)
    socket.destroy()
  }),
)

trouble(
  'a sender that does not wait for the answer to its close has closed',
  receiving(async (rig) => {
    const slow: GuardedDisk = {
      ...rig.disk,
      returning: undefined,
      open: async (...call) =>
        changed(await rig.disk.open(...call), 'datasync', async (file) => {
          await new Promise((resolve) => setTimeout(resolve, 200))
          await file.datasync()
        }),
    }
    const receiver = await rig.listen({ disk: slow })
    await asking(receiver, async ({ get, post }) => {
      await get(openOf(content.length))
      await post(whole, content)
    })
    const socket = connect(receiver.port, '127.0.0.1')
    const head = 'POST /v1-ssync/close HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n'
    await new Promise<void>((resolve) => socket.write(head, () => resolve()))
    await new Promise((resolve) => setTimeout(resolve, 50))
    socket.destroy()
    await assertReceived(rig, await receiver.received, content)
  }),
)

trouble(
  'nobody who comes is waited for only so long',
  receiving(async (rig) => {
    const receiver = await rig.listen({ idleTimeoutMs: 60 })
    const { code } = (await assertFailed(rig, receiver, /asked for nothing/)) as ImageError
    assert.is(code, 'deadline_exceeded')
  }),
)

trouble(
  'a sender that has gone is waited for only so long; each of its requests counts',
  receiving(async (rig) => {
    const receiver = await rig.listen({ idleTimeoutMs: 400 })
    let isOver = false
    receiver.received.catch(() => (isOver = true))
    await asking(receiver, async ({ get }) => {
      for (let count = 0; count < 5; count += 1) {
        await get(openOf(content.length))
        await new Promise((resolve) => setTimeout(resolve, 120))
      }
      assert.not(isOver)
    })
    await assertFailed(rig, receiver, /asked for nothing/)
  }),
)

trouble(
  'a sender that has gone after all had come was only too weak to say so',
  receiving(async (rig) => {
    const receiver = await rig.listen({ idleTimeoutMs: 100 })
    await asking(receiver, async ({ get, post }) => {
      await get(openOf(content.length))
      await post(whole, content)
    })
    await assertReceived(rig, await receiver.received, content)
  }),
)

trouble(
  'a close before an open leaves nothing',
  receiving(async (rig) => {
    const receiver = await rig.listen()
    assert.is((await asking(receiver, ({ post }) => post('close'))).status, 500)
    await assertFailed(rig, receiver, /before it had opened/)
  }),
)

const stops: [string, (rig: Rig, receiver: Receiver) => unknown][] = [
  ['the signal', ({ stop }) => stop.abort(new Error('It was stopped.'))],
  ['close', (_, receiver) => void receiver.close()],
]
const moments: [string, (requests: Requests) => Promise<unknown>][] = [
  ['before anything', async () => {}],
  ['after an open', ({ get }) => get(openOf(content.length))],
  [
    'in the middle',
    async ({ get, post }) => (await get(openOf(8 * mebibyte)), post(whole, content)),
  ],
  // The hash of so many zeros takes long.
  ['while it is hashed', async ({ get, post }) => (await get(openOf(1e12)), post('close'))],
]
for (const [how, end] of stops) {
  for (const [when, ask] of moments) {
    trouble(
      `${how} ends it ${when}, and leaves nothing`,
      receiving(async (rig) => {
        const receiver = await rig.listen()
        await asking(receiver, ask)
        end(rig, receiver)
        await assertFailed(rig, receiver, /stopped|was closed/)
      }),
    )
  }
}

trouble(
  'a port that is taken is told',
  receiving(async (rig) => {
    const { port } = await rig.listen()
    assert.is((await failureOf(rig.listen({ port }))).code, 'EADDRINUSE')
  }),
)

type OpenFile = Awaited<ReturnType<GuardedDisk['open']>>

/** A file that does one thing otherwise. */
function changed(
  file: OpenFile,
  verb: keyof OpenFile,
  work: (file: OpenFile) => Promise<unknown>,
): OpenFile {
  return new Proxy(file, {
    get: (_, name) => {
      if (name === verb) return () => work(file)
      const value: unknown = Reflect.get(file, name, file)
      return typeof value === 'function' ? (value.bind(file) as unknown) : value
    },
  })
}

/** A disk whose files do not what `verb` says. */
function broken(disk: GuardedDisk, verb: 'write' | 'datasync' | 'read'): GuardedDisk {
  const refuse = (): Promise<never> =>
    Promise.reject(new ImageError('resource_exhausted', `${verb} failed: the medium is full.`))
  return {
    ...disk,
    returning: undefined,
    open: async (...call) => changed(await disk.open(...call), verb, refuse),
  }
}

for (const verb of ['write', 'datasync', 'read'] as const) {
  trouble(
    `a disk that fails to ${verb} is told, to the sender too, and nothing is left`,
    receiving(async (rig) => {
      const receiver = await rig.listen({ disk: broken(rig.disk, verb) })
      const status = await asking(receiver, async ({ get, post }) => {
        await get(openOf(content.length))
        // What is hashed meanwhile may fail first, and end all.
        const lost = { status: 500 }
        const written = await post(whole, content).catch(() => lost)
        return verb === 'write' ? written.status : (await post('close').catch(() => lost)).status
      })
      if (verb !== 'read') assert.is(status, 500)
      await assertFailed(rig, receiver, new RegExp(`^${verb} failed`))
    }),
  )
}

trouble(
  'a file that is there already is not touched',
  receiving(async (rig) => {
    const first = await rig.listen()
    await asking(first, ({ get }) => get(openOf(512)))
    const second = await rig.listen()
    assert.is((await asking(second, ({ get }) => get(openOf(512)))).status, 500)
    assert.is((await failureOf(second.received)).code, 'already_exists')
    assert.equal(await readdir(rig.root), ['backing.tmp'])
  }),
)

trouble(
  'an image that names other files is refused as soon as its head has come',
  receiving(async (rig) => {
    const receiver = await rig.listen()
    const unsafe = Buffer.alloc(2 * mebibyte)
    qcow2Header({ backingFile: '/etc/passwd' }).copy(unsafe)
    await asking(receiver, async ({ get, post }) => {
      await get(openOf(64 * mebibyte))
      // It may end while this is still being answered.
      await post(whole, unsafe).catch(() => {})
    })
    const error = await assertFailed(rig, receiver, /\/etc\/passwd|backing file/)
    assert.is((error as ImageError).reason, 'unsafe_image')
  }),
)

for (const [what, foreign, virtualSize] of [
  ['a VMDK disk', withBytes('KDMV'), 4096],
  ['a page', withBytes('<html>', 0, 1000), 1024],
  ['a qcow2 image', Buffer.concat([qcow2Header(), Buffer.alloc(64 * 1024)]), mebibyte],
  ['nothing', Buffer.alloc(0), 0],
] as const) {
  trouble(
    `any other bytes are taken as they are: ${what}`,
    receiving(async (rig) => {
      const receiver = await rig.listen()
      await asking(receiver, async ({ get, post }) => {
        await get(openOf(foreign.length))
        await post(`writeData?begin=0&end=${foreign.length}`, foreign)
        await post('close')
      })
      const received = await receiver.received
      assert.is(received.virtualSize, virtualSize)
      await assertReceived(rig, received, foreign)
    }),
  )
}

trouble.run()
