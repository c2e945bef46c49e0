// Encrypted clones, by the real cryptsetup, and whether others agree: QEMU, which has an encryption of its
// own, and dm-crypt, the kernel's, in a guest.
//
//   node scripts/test.js e2e/daemon-clone.test.js

import { spawnSync } from 'node:child_process'
import { createHash, randomBytes } from 'node:crypto'
import { copyFileSync, createWriteStream, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { openDisk } from '../packages/backend-local/dist/index.js'
import { clonedBytes } from '../packages/daemon/dist/clone/cloned-bytes.js'
import { runInGuest } from './durability/guest.js'
import { failureOf, freshFolder, requireTools, root, run } from './machine.js'

const { path: folder, remove } = freshFolder()
process.on('exit', remove)
const test = suite('encrypted clones')

const passphrase = 'open sesame'
const mebibyte = 1024 * 1024
const headerBytes = 16 * mebibyte
const [plain, encrypted, decrypted] = ['plain', 'encrypted', 'decrypted'].map(at)
/** Derives a key at once: nobody attacks it here. */
const quick = { CRYPTO_PBKDF: 'pbkdf2', CRYPTO_PBKDF_FORCE_ITERATIONS: '1000' }
const ciphers = [
  ['aes-xts-plain64', '256'],
  ['aes-xts-plain64', '512'],
  ['aes-xts-plain', '256'],
  ['aes-cbc-essiv:sha256', '256'],
  ['aes-cbc-plain64', '128'],
  ['aes-cbc-plain', '256'],
]
/** QEMU ends itself where it meets keys of 192 bits. */
const kernelCiphers = [...ciphers, ['aes-cbc-plain64', '192']]

function at(name) {
  return join(folder, name)
}

async function clone(encryption, source, target, credential = {}) {
  const { signal } = new AbortController()
  const { size, bytes } = await clonedBytes({
    disk: openDisk(folder),
    source,
    scratch: `${target}.tmp`,
    encryption,
    signal,
    credential: { CRYPTO_KEY_VALUE: passphrase, ...credential },
  })
  await pipeline(Readable.from(copies(bytes)), createWriteStream(target))
  assert.is(statSync(target).size, size)
}

/** A chunk is its own only until the next one. */
async function* copies(bytes) {
  for await (const chunk of bytes) yield Buffer.from(chunk)
}

/** Throws unless it succeeds; resolves to what it writes. */
function cryptsetup(args, input = passphrase) {
  const { status, stdout, stderr } = spawnSync('cryptsetup', args, { input, encoding: 'utf8' })
  assert.is(status, 0, `cryptsetup ${args.join(' ')}: ${stderr}`)
  return stdout
}

/** Has QEMU copy between a plain file and an encrypted one. */
async function byQemu(from, to) {
  const image = (file) =>
    file === plain || file === decrypted
      ? `driver=raw,file.filename=${file}`
      : `driver=luks,key-secret=key,file.filename=${file}`
  const secret = ['--object', `secret,id=key,data=${passphrase}`]
  const target = ['-n', '--target-image-opts', image(to)]
  await run('qemu-img', ['convert', ...secret, '--image-opts', image(from), ...target])
}

function same(one, other) {
  return readFileSync(one).equals(readFileSync(other))
}

test.before(() => {
  requireTools('cryptsetup', 'qemu-img')
  const content = [randomBytes(3 * mebibyte), Buffer.alloc(2 * mebibyte), randomBytes(512 * 3)]
  writeFileSync(plain, Buffer.concat(content))
})

for (const [cipher, keyBits] of ciphers) {
  const credential = { ...quick, CRYPTO_KEY_CIPHER: cipher, CRYPTO_KEY_SIZE: keyBits }
  const name = `${cipher} with ${keyBits} bits`

  test(`cryptsetup opens what was encrypted by ${name}, and it is decrypted again`, async () => {
    await clone('encrypt', plain, encrypted, credential)
    assert.is(statSync(encrypted).size, headerBytes + statSync(plain).size)
    cryptsetup(['luksOpen', '--test-passphrase', encrypted, '-d', '-'])
    const dump = cryptsetup(['luksDump', encrypted])
    assert.match(dump, new RegExp(`offset: ${headerBytes} .*\\s+.*\\s+cipher: ${cipher}\\s`))
    assert.match(dump, /sector: 512 /)
    assert.match(dump, `Key:        ${keyBits} bits`)
    await clone('decrypt', encrypted, decrypted)
    assert.ok(same(plain, decrypted))
  })

  test(`QEMU reads what was encrypted by ${name}`, async () => {
    const readable = at('first')
    copyFileSync(encrypted, readable)
    // QEMU knows version 1 of the header; the data stay as they are.
    cryptsetup(['--batch-mode', 'convert', '--type', 'luks1', readable])
    writeFileSync(decrypted, Buffer.alloc(statSync(plain).size))
    await byQemu(readable, decrypted)
    assert.ok(same(plain, decrypted))
  })

  test(`what QEMU encrypts by ${name} is decrypted`, async () => {
    const written = at('written')
    writeFileSync(written, Buffer.alloc(headerBytes + statSync(plain).size))
    const kind = ['--type', 'luks1', '--align-payload', String(headerBytes / 512)]
    const key = ['--cipher', cipher, '--key-size', keyBits, '--pbkdf-force-iterations', '1000']
    cryptsetup(['--batch-mode', 'luksFormat', ...kind, ...key, written, '-d', '-'])
    await byQemu(plain, written)
    cryptsetup(['--batch-mode', 'convert', '--type', 'luks2', written])
    await clone('decrypt', written, decrypted)
    assert.ok(same(plain, decrypted))
  })
}

test('as Longhorn encrypts when it is told nothing else', async () => {
  await clone('encrypt', plain, encrypted)
  assert.match(cryptsetup(['luksDump', encrypted]), /cipher: aes-xts-plain64[^]*PBKDF:\s+argon2i\s/)
  cryptsetup(['luksOpen', '--test-passphrase', encrypted, '-d', '-'])
})

test('of a qcow2 image what a guest sees is encrypted', async () => {
  const packed = at('packed')
  await run('qemu-img', ['convert', '-f', 'raw', '-O', 'qcow2', '-c', plain, packed])
  await clone('encrypt', packed, encrypted, quick)
  await clone('decrypt', encrypted, decrypted)
  assert.match(
    await run('qemu-img', ['compare', '-f', 'raw', '-F', 'raw', plain, decrypted]),
    'ident',
  )
})

test('a wrong passphrase is refused, and a hash that nobody knows', async () => {
  const tries = [
    ['decrypt', encrypted, { CRYPTO_KEY_VALUE: 'wrong' }, /does not open the image/],
    ['encrypt', plain, { CRYPTO_KEY_HASH: 'md55' }, /cryptsetup ended with .*md55/],
  ]
  for (const [encryption, source, credential, words] of tries) {
    const work = clone(encryption, source, at('none'), credential)
    await work.then(assert.unreachable, (error) => assert.match(error.message, words))
  }
})

test('it needs no rights', async () => {
  const script = `
    const { openDisk } = await import('${root}/packages/backend-local/dist/index.js')
    const { clonedBytes } = await import('${root}/packages/daemon/dist/clone/cloned-bytes.js')
    const { bytes, size } = await clonedBytes({
      disk: openDisk('${folder}'), source: '${plain}', scratch: '${at('scratch')}',
      encryption: 'encrypt', credential: ${JSON.stringify({ CRYPTO_KEY_VALUE: passphrase, ...quick })},
      signal: new AbortController().signal,
    })
    let length = 0
    for await (const chunk of bytes) length += chunk.length
    process.exit(length === size ? 0 : 1)`
  const without = ['--bounding-set=-all', '--inh-caps=-all']
  await failureOf('setpriv', [...without, 'mount', '-t', 'tmpfs', 'none', folder])
  await run('setpriv', [...without, process.execPath, '--input-type=module', '-e', script])
})

test('the kernel reads what was encrypted here, and what it encrypts is decrypted', async () => {
  requireTools('losetup', 'modprobe')
  writeFileSync(at('passphrase'), passphrase)
  const ours = kernelCiphers.map((_, index) => at(`ours${index}`))
  for (const [index, [cipher, keyBits]] of kernelCiphers.entries()) {
    const credential = { ...quick, CRYPTO_KEY_CIPHER: cipher, CRYPTO_KEY_SIZE: keyBits }
    await clone('encrypt', plain, ours[index], credential)
    writeFileSync(at(`theirs${index}`), Buffer.alloc(headerBytes + 8 * mebibyte))
  }
  const theirs = randomBytes(8 * mebibyte)
  writeFileSync(at('content'), theirs)
  const steps = kernelCiphers.flatMap(([cipher, keyBits], index) => {
    // Also of sectors that are longer, where the kernel counts otherwise.
    const kind = `--type luks2 --cipher ${cipher} --key-size ${keyBits} --sector-size ${index % 2 ? 4096 : 512}`
    return [
      `device=$(losetup -f --show ours${index})`,
      `cryptsetup luksOpen $device disk${index} -d passphrase`,
      `sha256sum < /dev/mapper/disk${index} >> sums`,
      `cryptsetup luksClose disk${index} && losetup -d $device`,
      `device=$(losetup -f --show theirs${index})`,
      `cryptsetup -q luksFormat ${kind} --pbkdf pbkdf2 --pbkdf-force-iterations 1000 $device passphrase`,
      `cryptsetup luksOpen $device disk${index} -d passphrase`,
      `dd if=content of=/dev/mapper/disk${index} bs=1M conv=fsync status=none`,
      `cryptsetup luksClose disk${index} && losetup -d $device`,
    ]
  })
  const command = `set -e; cd '${folder}'; mkdir -p /run/cryptsetup; ${steps.join('; ')}`
  const options = { folder, command, diskBytes: mebibyte, timeoutMs: 240_000, setup: 'clone.sh' }
  assert.is(await runInGuest(options), 0, 'see what the guest wrote')
  const sums = readFileSync(at('sums'), 'utf8').match(/[0-9a-f]{64}/g)
  const sum = createHash('sha256').update(readFileSync(plain)).digest('hex')
  assert.equal(sums, Array(kernelCiphers.length).fill(sum))
  for (const index of kernelCiphers.keys()) {
    await clone('decrypt', at(`theirs${index}`), decrypted)
    assert.ok(readFileSync(decrypted).equals(theirs), kernelCiphers[index].join(' '))
  }
})

test.run()
