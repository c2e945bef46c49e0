// The test of real disk images, wherever they are kept: a bootable CD and a whole Debian, raw and qcow2,
// by the programs that people use: curl, qemu-img and a virtual machine.

import { copyFileSync, readFileSync, statSync, truncateSync, writeFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { makeDebianDisk } from '../debian.js'
import { failureOf, grubImage, requireTools, root, run, startServer } from '../machine.js'
import { bootUntil } from '../virtual-machine.js'

const token = 'e2e-0123456789-token'
const mebibyte = 1024 * 1024
const greeting = 'GNU GRUB'
/** In a guest everything takes its time. */
const timeoutMs = 240_000

/** Each as it was made: `file` in the folder, and how the server should call it. */
const images = {
  'base-grub': { file: 'grub-rescue-cdrom.iso', format: 'iso' },
  'base-debian': { file: 'debian.raw', format: 'raw' },
  'base-grub-qcow2': { file: 'grub.qcow2', format: 'qcow2' },
  'base-debian-qcow2': { file: 'debian.qcow2', format: 'qcow2' },
}

const qemuImg = (...args) => run('qemu-img', args, { timeoutMs })
// One request at a time: with several, version 7.2 now and then waits for ever for an answer that it
// has already taken, whatever the server.
const convertFrom = (format, url, target) =>
  qemuImg('convert', '-m', '1', '-f', format, '-O', 'raw', url, target)
const sha512 = async (file) => (await run('sha512sum', [file], { timeoutMs })).slice(0, 128)
const same = (one, other) => run('cmp', [one, other], { timeoutMs })
const program = (args, env) =>
  run('node', [join(root, 'packages/server/bin/backing-image-manager.cjs'), ...args], {
    env,
    timeoutMs,
  })

/**
 * Makes the images in a folder, for `testImages`: a whole Debian, or a part that a guest can take in
 * some minutes.
 */
export async function makeImages(folder, { isSmall = false } = {}) {
  const disks = ['debootstrap', 'mkfs.ext4', 'qemu-img', 'qemu/block-curl.so', grubImage]
  requireTools('curl', 'cmp', 'qemu-system-x86_64', ...disks)
  const made = (name) => join(folder, images[name].file)
  copyFileSync(grubImage, made('base-grub'))
  const disk = isSmall ? [96 * mebibyte, 'usr/bin'] : [512 * mebibyte]
  const diskAllocatedBytes = await makeDebianDisk(made('base-debian'), ...disk)
  for (const name of ['base-grub', 'base-debian']) {
    await qemuImg('convert', '-f', 'raw', '-O', 'qcow2', made(name), made(`${name}-qcow2`))
  }
  writeFileSync(join(folder, 'made.json'), JSON.stringify({ diskAllocatedBytes }))
}

/**
 * Runs all tests with the images in `folder` on a server whose store `open` prepares: it resolves to
 * {env, storage}; `storage` is the folder where `hasFiles` says that images are files in one. `close`
 * comes last. Without `canBoot` no virtual machine is started.
 */
export function testImages(title, { folder, hasFiles = false, canBoot = true, open, close }) {
  const test = suite(title)
  let place
  let server
  let diskBytes

  const made = (name) => join(folder, images[name].file)
  const downloaded = (name) => join(folder, `downloaded-${images[name].file}`)
  const imageUrl = (name) => `${server.url}/v1/backing-images/${name}`
  const downloadUrl = (name) => `${imageUrl(name)}/download`
  const curl = (...args) =>
    run('curl', ['-sS', '--fail-with-body', ...args], { cwd: folder, timeoutMs })
  const curlJson = async (...args) => JSON.parse(await curl(...args))

  test.before(async () => {
    diskBytes = statSync(made('base-debian')).size
    place = await open()
    server = await startServer(place.storage, place.env)
  })

  test.after(async () => {
    await server?.stop()
    await close?.()
  })

  test('curl -F stores an image, with the command of the guide as it is written', async () => {
    assert.is(basename(made('base-grub')), 'grub-rescue-cdrom.iso')
    const command =
      `curl -X POST ${server.url}/v1/backing-images -H "Content-Type: multipart/form-data" ` +
      '-F "name=base-grub" -F "file=@grub-rescue-cdrom.iso"'
    const image = JSON.parse(await run('sh', ['-c', command], { cwd: folder }))
    assert.is(image.state, 'ready')
    assert.is(image.size, statSync(grubImage).size)
    const file = `file=@${images['base-debian-qcow2'].file}`
    await curl('-F', 'name=base-debian-qcow2', '-F', file, `${server.url}/v1/backing-images`)
  })

  test('curl -T stores an image, from a file and from a pipe', async () => {
    const image = await curlJson('-T', made('base-debian'), imageUrl('base-debian'))
    assert.is(image.state, 'ready')
    assert.is(image.size, diskBytes)
    const { file } = images['base-grub-qcow2']
    const pipe = `cat '${file}' | curl -sS --fail-with-body -T - '${imageUrl('base-grub-qcow2')}'`
    await run('sh', ['-c', pipe], { cwd: folder })
  })

  test('the list has each image once, in name order, with its format and digest', async () => {
    const { data } = await curlJson(`${server.url}/v1/backing-images`)
    assert.equal(
      data.map(({ name }) => name),
      Object.keys(images).toSorted(),
    )
    for (const image of data) {
      assert.equal(image, await curlJson(imageUrl(image.name)))
      assert.is(image.state, 'ready')
      assert.is(image.progress, 100)
      assert.is(image.format, images[image.name].format)
      assert.is(image.size, statSync(made(image.name)).size)
      assert.is(image.currentChecksum, await sha512(made(image.name)))
      const isDebian = image.name.startsWith('base-debian')
      assert.is(image.virtualSize, isDebian ? diskBytes : statSync(grubImage).size)
    }
  })

  test('a download has the exact bytes of the upload', async () => {
    for (const name of Object.keys(images)) {
      await curl('-o', downloaded(name), downloadUrl(name))
      await same(made(name), downloaded(name))
    }
  })

  test('a cut download is resumed, and parts of it can be had', async () => {
    const partial = join(folder, 'partial')
    copyFileSync(downloaded('base-grub'), partial)
    truncateSync(partial, 1_000_001)
    await curl('-C', '-', '-o', partial, downloadUrl('base-grub'))
    await same(made('base-grub'), partial)
    const bytes = readFileSync(made('base-grub'))
    for (const [range, expected] of [
      ['32768-34815', bytes.subarray(32_768, 34_816)],
      ['-2048', bytes.subarray(-2048)],
      [`${bytes.length - 1}-`, bytes.subarray(-1)],
    ]) {
      const part = join(folder, 'part')
      await curl('-r', range, '-o', part, downloadUrl('base-grub'))
      assert.ok(readFileSync(part).equals(expected), range)
    }
    const head = await curl('-I', downloadUrl('base-grub'))
    assert.match(head, new RegExp(`^content-length: ${bytes.length}\r$`, 'im'))
    assert.match(head, /^accept-ranges: bytes\r$/im)
  })

  if (hasFiles) {
    test('a disk full of holes takes no more than its data', () => {
      const { blocks, size } = statSync(storedFile(place.storage, 'base-debian'))
      const { diskAllocatedBytes } = JSON.parse(readFileSync(join(folder, 'made.json'), 'utf8'))
      assert.is(size, diskBytes)
      // Half a disk of holes, else this shows nothing.
      assert.ok(
        diskAllocatedBytes < diskBytes / 2,
        `${diskAllocatedBytes} bytes on the disk as made`,
      )
      // Blocks of zeros that mkfs did write become holes too. Some space for the extents themselves.
      assert.ok(blocks * 512 <= diskAllocatedBytes + 256 * 1024, `${blocks * 512} bytes stored`)
    })

    test('the image says how much space it takes', async () => {
      const { realSize } = await curlJson(imageUrl('base-debian'))
      const { blocks } = statSync(storedFile(place.storage, 'base-debian'))
      assert.is(realSize, blocks * 512)
    })
  }

  test('qemu-img looks at an image through its URL', async () => {
    for (const [name, { format }] of Object.entries(images)) {
      const info = JSON.parse(await qemuImg('info', '--output=json', downloadUrl(name)))
      const image = await curlJson(imageUrl(name))
      assert.is(info.format, format === 'iso' ? 'raw' : format)
      assert.is(info['virtual-size'], image.virtualSize)
    }
  })

  test('qemu-img converts an image from its URL', async () => {
    const converted = join(folder, 'converted.raw')
    for (const [name, { format }] of Object.entries(images)) {
      const from = format === 'qcow2' ? 'qcow2' : 'raw'
      await convertFrom(from, downloadUrl(name), converted)
      await same(converted, made(name.replace('-qcow2', '')))
    }
  })

  if (canBoot) {
    test('a virtual machine boots the downloaded image', async () => {
      const colours = await bootUntil(greeting, downloaded('base-grub'), folder)
      assert.ok(colours > 1, `${colours} colours`)
    })
  }

  test('the command line lists and downloads the images', async () => {
    const env = { BACKING_IMAGE_MANAGER_URL: server.url }
    const list = JSON.parse(await program(['backing-image', 'list', '-o', 'json'], env))
    assert.equal(Object.keys(list).toSorted(), Object.keys(images).toSorted())
    assert.is(list['base-grub'].status.currentChecksum, await sha512(made('base-grub')))
    const target = join(folder, 'by-command.qcow2')
    await program(['backing-image', 'download', 'base-debian-qcow2', '-o', target], env)
    await same(made('base-debian-qcow2'), target)
  })

  test('with a token nobody reads or writes without it', async () => {
    assert.is(await server.stop(), 0)
    server = await startServer(place.storage, { ...place.env, API_TOKEN: token })
    const refused = async (...args) => {
      const { stdout } = await failureOf('curl', ['-sS', '--fail-with-body', ...args])
      assert.is(JSON.parse(stdout).code, 'unauthenticated')
    }
    await refused(`${server.url}/v1/backing-images`)
    await refused(downloadUrl('base-grub'))
    await refused('-T', made('base-grub'), imageUrl('intruder'))
    await refused('-H', 'Authorization: Bearer wrong', downloadUrl('base-grub'))
    await failureOf('qemu-img', ['info', downloadUrl('base-grub')])
    const { data } = await curlJson('-H', bearer, `${server.url}/v1/backing-images`)
    assert.is(data.length, Object.keys(images).length)
  })

  test('with a token curl sends it as Bearer', async () => {
    const image = await curlJson('-H', bearer, '-T', made('base-grub'), imageUrl('with-token'))
    assert.is(image.state, 'ready')
    const target = join(folder, 'with-token')
    await curl('-H', bearer, '-o', target, downloadUrl('with-token'))
    await same(made('base-grub'), target)
  })

  test('with a token qemu-img and qemu send it as the password in the URL', async () => {
    const url = withPassword(downloadUrl('base-grub-qcow2'))
    const info = JSON.parse(await qemuImg('info', '--output=json', url))
    assert.is(info.format, 'qcow2')
    const converted = join(folder, 'converted.raw')
    await convertFrom('qcow2', url, converted)
    await same(made('base-grub'), converted)
    if (!canBoot) return
    const cd = withPassword(downloadUrl('base-grub'))
    const colours = await bootUntil(greeting, cd, folder)
    assert.ok(colours > 1, `${colours} colours`)
  })

  test('with a token the probes of a container need none', async () => {
    assert.is(await curl(`${server.url}/health`), '{"status":"ok"}')
    assert.equal(await curlJson(`${server.url}/ready`), { status: 'ok' })
    const env = { HOST: '127.0.0.1', PORT: server.port }
    await program(['health'], env)
  })

  test.run()
}

const bearer = `Authorization: Bearer ${token}`

function withPassword(url) {
  return url.replace('http://', `http://any:${token}@`)
}

/** The plain file in the storage folder that holds the bytes of an image. */
function storedFile(storage, name) {
  const record = JSON.parse(readFileSync(join(storage, '.catalog', name, '1.json'), 'utf8'))
  return join(storage, record.keys[0])
}
