// Clones, with stand-ins for the programs (testing/rig.ts): what those are told, which bytes come, and that
// nothing is left.

import { createCipheriv, randomBytes } from 'node:crypto'
import { access, readdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { isImageError } from '@backing-image/core'
import { qcow2Image } from '@backing-image/core/testing'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import type { Clone } from './cloned-bytes.ts'
import { type Rig, failure, metadataOf, passphrase, rigged } from './testing/rig.ts'

const clones = suite('clones')

const headerBytes = 16 * 1024 * 1024
const content: Buffer = Buffer.concat([
  randomBytes(1_500_160),
  Buffer.alloc(1024 * 1024),
  randomBytes(512),
])

/** Of 4 MiB, for its guest. */
const disk: Buffer = qcow2Image({ size: 4 * 1024 * 1024 })

async function read({ bytes }: Clone): Promise<Buffer> {
  const parts: Buffer[] = []
  for await (const chunk of bytes) parts.push(Buffer.from(chunk))
  return Buffer.concat(parts)
}

/** By OpenSSL, a sector at a time. */
function encrypted(key: Buffer, bytes: Buffer, { sectorBytes = 512, firstUnit = 0 } = {}): Buffer {
  const parts: Buffer[] = []
  for (let at = 0; at < bytes.length; at += sectorBytes) {
    const iv = Buffer.alloc(16)
    iv.writeUInt32LE(firstUnit + at / 512)
    const cipher = createCipheriv('aes-128-xts', key, iv)
    parts.push(cipher.update(bytes.subarray(at, at + sectorBytes)))
  }
  return Buffer.concat(parts)
}

clones(
  'what is to be ignored is cloned as it is',
  rigged(async (rig) => {
    const clone = await rig.clone('ignore', content, {})
    assert.is(clone.size, content.length)
    assert.ok((await read(clone)).equals(content))
    assert.match((await failure(rig.seen('format'))).message, 'ENOENT')
  }),
)

clones(
  'an encrypted clone is a header and every sector, zeros too',
  rigged(async (rig) => {
    const clone = await rig.clone('encrypt', content)
    assert.is(clone.size, headerBytes + content.length)
    const made = await read(clone)
    assert.ok(made.subarray(0, headerBytes).equals(rig.header))
    assert.ok(made.subarray(headerBytes).equals(encrypted(rig.key, content)))
  }),
)

clones(
  'cryptsetup is told what Longhorn tells it, and has limits, no secrets and no names',
  rigged(async (rig) => {
    process.env['API_TOKEN'] = 's3cr3t'
    await read(await rig.clone('encrypt', content))
    delete process.env['API_TOKEN']
    assert.is(
      (await rig.seen('format')).trim(),
      '--batch-mode luksFormat --type=luks2 --offset=32768 --sector-size=512 ' +
        '--cipher=aes-xts-plain64 --hash=sha256 --key-size=256 --pbkdf=argon2i --key-file=- ' +
        '/proc/self/fd/3',
    )
    assert.is(await rig.seen('input'), passphrase)
    assert.is(await rig.seen('names'), 'image\n')
    assert.match(await rig.seen('memory'), /^[1-9][0-9]*\s*$/)
    for (const secret of ['s3cr3t', passphrase]) {
      assert.not.match(await rig.seen('environment'), secret)
      assert.not.match(await rig.seen('dump'), secret)
    }
  }),
)

clones(
  'a secret decides how it is encrypted',
  rigged(async (rig) => {
    await rig.clone('encrypt', content, {
      CRYPTO_KEY_VALUE: passphrase,
      CRYPTO_KEY_PROVIDER: 'secret',
      CRYPTO_KEY_CIPHER: 'aes-cbc-essiv:sha256',
      CRYPTO_KEY_HASH: 'sha512',
      CRYPTO_KEY_SIZE: '192',
      CRYPTO_PBKDF: 'argon2id',
      CRYPTO_PBKDF_FORCE_ITERATIONS: '4',
      CRYPTO_PBKDF_MEMORY: '65536',
    })
    assert.match(
      await rig.seen('format'),
      '--cipher=aes-cbc-essiv:sha256 --hash=sha512 --key-size=192 --pbkdf=argon2id ' +
        '--pbkdf-force-iterations=4 --pbkdf-memory=65536 ',
    )
  }),
)

for (const [offsetBytes, sectorBytes, firstUnit] of [
  [headerBytes, 512, 0],
  [headerBytes + 4096, 4096, 8],
] as const) {
  clones(
    `a disk with sectors of ${sectorBytes} from ${offsetBytes} on is decrypted`,
    rigged(async (rig) => {
      const plain = randomBytes(3 * 1024 * 1024 + 4096)
      const told = {
        offset: String(offsetBytes),
        sector_size: sectorBytes,
        iv_tweak: `${firstUnit}`,
      }
      await rig.tell(metadataOf(told))
      const data = encrypted(rig.key, plain, { sectorBytes, firstUnit })
      const gap = Buffer.alloc(offsetBytes - headerBytes)
      const clone = await rig.clone('decrypt', Buffer.concat([rig.header, gap, data]))
      assert.is(clone.size, plain.length)
      assert.ok((await read(clone)).equals(plain))
    }),
  )
}

clones(
  'a passphrase that does not open the image is refused, and not told',
  rigged(async (rig) => {
    const source = Buffer.concat([rig.header, content])
    const error = await failure(rig.clone('decrypt', source, { CRYPTO_KEY_VALUE: 'wr0ng' }))
    assert.ok(isImageError(error, 'invalid_argument'))
    assert.match(error.message, /CRYPTO_KEY_VALUE does not open.*no key for it/)
    assert.not.match(error.message, 'wr0ng')
  }),
)

clones(
  'what a killed process has left is in nobody’s way',
  rigged(async (rig) => {
    for (const name of ['luks', 'raw']) await writeFile(join(rig.folder, `target.tmp.${name}`), 'x')
    await rig.script('qemu-img', 'head -c "$(cat bytes)" /dev/zero > "$7"')
    await writeFile(join(rig.folder, '../bytes'), String(disk.readBigUInt64BE(24)))
    const clone = await rig.clone('encrypt', disk)
    assert.is((await read(clone)).length, clone.size)
  }),
)

async function packed(rig: Rig, script: string): Promise<{ clone: Clone; size: number }> {
  await rig.script('qemu-img', `echo "$*" > conversion; ls -A image-folder > scratch\n${script}`)
  await writeFile(join(rig.folder, '../raw'), content)
  return { clone: await rig.clone('encrypt', disk), size: Number(disk.readBigUInt64BE(24)) }
}

clones(
  'of a qcow2 image that is encrypted what a guest sees is',
  rigged(async (rig) => {
    const { clone, size } = await packed(rig, 'cat raw > "$7"; truncate -s "$(cat bytes)" "$7"')
    await writeFile(join(rig.folder, '../bytes'), String(size))
    assert.is(clone.size, headerBytes + size)
    const made = await read(clone)
    const seen = Buffer.alloc(size)
    content.copy(seen)
    assert.ok(made.subarray(headerBytes).equals(encrypted(rig.key, seen)))
    assert.match(await rig.seen('conversion'), 'convert -f qcow2 -O raw /proc/self/fd/3 /proc')
    assert.is(await rig.seen('scratch'), 'image\ntarget.tmp.raw\n')
  }),
)

clones(
  'an image that can not be converted, or is half there, is none',
  rigged(async (rig) => {
    const failing = await packed(rig, 'echo "no luck today" >&2; exit 3')
    assert.match((await failure(read(failing.clone))).message, 'no luck today')
    const short = await packed(rig, 'head -c 512 raw > "$7"')
    assert.ok(isImageError(await failure(read(short.clone)), 'out_of_range', 'data_loss'))
  }),
)

clones(
  'a clone that is left half read, or unread, leaves nothing',
  rigged(async (rig) => {
    const { clone } = await packed(rig, 'truncate -s 4M "$7"')
    const bytes = clone.bytes[Symbol.asyncIterator]()
    for (let piece = 0; piece < 17; piece += 1) await bytes.next()
    assert.equal(await readdir(rig.folder), ['image', 'target.tmp.raw'])
    await bytes.return?.()
    await rig.clone('encrypt', content)
    await rig.clone('decrypt', Buffer.concat([rig.header, content]))
  }),
)

clones(
  'a program that hangs goes when the work is cancelled',
  rigged(async (rig) => {
    await rig.script('cryptsetup', 'echo $$ > process; exec sleep 600')
    const work = failure(rig.clone('encrypt', content))
    const reason = new Error('cancelled')
    let id = ''
    while (id === '') {
      id = (await rig.seen('process').catch(() => '')).trim()
      await pause(2)
    }
    const waits = failure(rig.clone('decrypt', Buffer.concat([rig.header, content])))
    rig.stop.abort(reason)
    assert.equal([await work, await waits], [reason, reason])
    assert.throws(() => process.kill(Number(id), 0), /ESRCH/)
  }),
)

clones(
  'a program that fails or tells too much is ended and cited',
  rigged(async (rig) => {
    await rig.script('cryptsetup', 'echo "no luck with /proc/self/fd/3" >&2; exit 4')
    const error = await failure(rig.clone('encrypt', content))
    assert.ok(isImageError(error, 'failed_precondition'))
    assert.match(error.message, /ended with 4 .*no luck with the image/)
    await rig.script('cryptsetup', 'exec yes')
    assert.match((await failure(rig.clone('encrypt', content))).message, 'ended by SIGKILL')
  }),
)

clones(
  'without the program it is said what to install',
  rigged(async (rig) => {
    process.env['PATH'] = '/nowhere'
    const error = await failure(rig.clone('encrypt', content))
    assert.ok(isImageError(error, 'failed_precondition'))
    assert.match(error.message, 'cryptsetup-bin')
    await access(join(rig.folder, 'image'))
  }),
)

clones.run()
