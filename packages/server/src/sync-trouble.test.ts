// Two servers, and what comes between them: restarts, deaths, deletions, tokens, certificates.

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { MemoryBackend, MemoryStore, localCertificate } from '@backing-image/core/testing'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { upload } from './durability/store.ts'
import type { Relay } from './testing/relay.ts'
import { ask, eventually, put, servingOn } from './testing/serving.ts'
import {
  accept,
  assertSame,
  blockBytes,
  diskOf,
  ended,
  patient,
  synced,
  two,
} from './testing/syncing.ts'

const sync = suite('sync: trouble')

const folder = mkdtempSync(join(tmpdir(), 'sync-trouble-'))
sync.after(() => rmSync(folder, { recursive: true, force: true }))

function file(name: string, content: string): string {
  const path = join(folder, name)
  writeFileSync(path, content)
  return path
}

/** Resolves in the very moment in which so many more bytes have come over the wire. */
async function moved(relay: Relay, bytes: number): Promise<void> {
  const end = relay.receivedBytes + bytes
  await new Promise<void>((resolve) => {
    relay.onBytes = () => {
      if (relay.receivedBytes < end) return
      relay.onBytes = undefined
      resolve()
    }
  })
}

sync(
  'a connection that breaks again and again costs no more than what was on its way',
  two(async ({ sender, receiver, relay, from }) => {
    const disk = diskOf(6)
    await put(sender, 'base', disk)
    const job = await accept(receiver, 'copy', { from, name: 'base' })
    for (let cut = 0; cut < 3; cut++) {
      await moved(relay, 1.2 * blockBytes)
      relay.cut()
    }
    const image = await ended(receiver, job)
    assert.is(image.state, 'ready', image.message)
    await assertSame(receiver, 'copy', disk)
    assert.ok(relay.receivedBytes < 1.5 * disk.length, `${relay.receivedBytes} bytes were moved`)
  }),
)

sync(
  'a sender that is started anew in mid-transfer is gone on with',
  two(async ({ sender, receiver, relay, from }) => {
    const disk = diskOf(6)
    await put(sender, 'base', disk)
    const job = await accept(receiver, 'copy', { from, name: 'base' })
    await moved(relay, 2 * blockBytes)
    await sender.close()
    const next = await servingOn(sender.backend, patient)
    relay.port = next.port
    try {
      const image = await ended(receiver, job)
      assert.is(image.state, 'ready', image.message)
      await assertSame(receiver, 'copy', disk)
    } finally {
      await next.close()
    }
  }),
)

sync('a receiver that dies in mid-transfer is gone on for by another one', async () => {
  const shared = new MemoryStore()
  const dying = new MemoryBackend({ shared })
  await two(
    async ({ sender, receiver, relay, from }) => {
      const disk = diskOf(6)
      await put(sender, 'base', disk)
      const job = await accept(receiver, 'copy', { from, name: 'base' })
      await moved(relay, 3 * blockBytes)
      await receiver.store.beat()
      shared.kill(dying.owner)
      const heir = await servingOn(new MemoryBackend({ shared }), patient)
      try {
        const image = await ended(heir, job)
        assert.is(image.state, 'ready', image.message)
        await assertSame(heir, 'copy', disk)
        await heir.store.sweep()
        assert.is(shared.unfinished.size, 0)
      } finally {
        await heir.close()
      }
    },
    { receiverBackend: dying },
  )()
})

sync(
  'where as many sync as may it waits for its turn, which is no failure',
  two(
    async ({ sender, receiver, relay, from }) => {
      const disk = diskOf(2)
      await put(sender, 'base', disk)
      const headers = { 'x-sync-id': 'other', range: 'bytes=0-0' }
      const path = '/v1/backing-images/base/download'
      assert.is((await ask(sender, 'GET', path, { headers })).status, 206)
      const job = await accept(receiver, 'copy', { from, name: 'base' })
      const told = () => receiver.lines.filter(({ msg }) => msg === 'job is tried again')
      await eventually(() => told().length > 0)
      assert.match(String(told()[0]?.['message']), /wait for a turn \(429\)/)
      // Nobody is remembered by a sender that is started anew.
      const next = await servingOn(sender.backend, patient)
      relay.port = next.port
      relay.cut()
      try {
        const image = await ended(receiver, job)
        assert.is(image.state, 'ready', image.message)
        await assertSame(receiver, 'copy', disk)
        assert.is(told().length, 1)
      } finally {
        await next.close()
      }
    },
    { senderConfig: { syncSendersMax: 1 } },
  ),
)

sync(
  'an image that is deleted over there in mid-transfer fails, and says so',
  two(async ({ sender, receiver, relay, from }) => {
    await put(sender, 'base', diskOf(8))
    const job = await accept(receiver, 'copy', { from, name: 'base' })
    await moved(relay, blockBytes)
    assert.is((await ask(sender, 'DELETE', '/v1/backing-images/base')).status, 204)
    const image = await ended(receiver, job)
    assert.is(image.state, 'failed')
    assert.match(image.message, /it has no base that is ready/)
    const left = (await receiver.keys()).filter((key) => !key.startsWith('.jobs/'))
    assert.equal(left, [])
  }),
)

sync(
  'deleting the image that is on its way ends the requests for it',
  two(async ({ sender, receiver, relay, from }) => {
    await put(sender, 'base', diskOf(8))
    await accept(receiver, 'copy', { from, name: 'base' })
    await moved(relay, blockBytes)
    assert.is((await ask(receiver, 'DELETE', '/v1/backing-images/copy')).status, 204)
    await eventually(async () => {
      const keys = await receiver.keys()
      return keys.every((key) => key.startsWith('.marks/'))
    })
  }),
)

sync(
  'with the right token in its secret it reads, and without it says what is missing',
  async () => {
    file('good', JSON.stringify({ hosts: ['127.0.0.1'], token: 'r3ad' }))
    file('bad', JSON.stringify({ hosts: ['127.0.0.1'], token: 'wr0ng' }))
    await two(
      async ({ sender, receiver, relay, from }) => {
        const disk = diskOf(1)
        const headers = { authorization: 'Bearer wr1te' }
        await put(sender, 'base', disk, headers)
        const none = await synced(receiver, 'none', { from, name: 'base' })
        assert.match(none.message, /answered 401: parameters\.credential.*secretRef/)
        const bad = { from, name: 'base', credential: { secretRef: 'bad' } }
        assert.match((await synced(receiver, 'bad-copy', bad)).message, /401 to the secret/)
        const good = { from, name: 'base', credential: { secretRef: 'good' } }
        const image = await synced(receiver, 'copy', good)
        assert.is(image.state, 'ready', image.message)
        assert.equal(image.parameters, { ...good, version: '1' })
        await assertSame(receiver, 'copy', disk)
        for (const key of await receiver.keys()) {
          if (!(receiver.backend instanceof MemoryBackend)) throw new Error('no memory')
          const body = receiver.backend.store.objects.get(key)?.body ?? []
          assert.not.match(Buffer.from(body).toString('latin1'), /r3ad|wr0ng/, key)
        }
        assert.not.match(JSON.stringify(receiver.lines), /r3ad|wr0ng/)
        assert.ok(relay.receivedBytes > 0)
      },
      {
        senderConfig: { apiToken: 'wr1te', apiReadToken: 'r3ad' },
        receiverConfig: { sourceSecretsPath: folder },
      },
    )()
  },
)

const tls = {
  certFile: file('tls.crt', localCertificate.cert),
  keyFile: file('tls.key', localCertificate.key),
}
for (const isTrusted of [true, false]) {
  sync(
    `a manager behind https is ${isTrusted ? 'read by who trusts' : 'not read by who does not trust'} it`,
    two(
      async ({ sender, receiver }) => {
        const disk = diskOf(1)
        await upload(sender.store, 'base', disk)
        const from = `https://localhost:${sender.port}`
        const image = await synced(receiver, 'copy', { from, name: 'base' })
        if (isTrusted) assert.is(image.state, 'ready', image.message)
        else assert.match(image.message, /certificate is not trusted.*EXTRA_CA_FILE/)
      },
      {
        senderConfig: { tls },
        receiverConfig: isTrusted ? { extraCaFile: tls.certFile } : {},
      },
    ),
  )
}

sync.run()
