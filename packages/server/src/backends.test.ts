import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { FakeS3 } from '@backing-image/backend-s3/testing'
import { bytesOf, isImageError } from '@backing-image/core'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { openBackend } from './backends.ts'
import { ConfigError, type StorageConfig, readConfig } from './config.ts'

const backends = suite('backends')
const folder = mkdtempSync(join(tmpdir(), 'backends-'))

backends.after(() => rmSync(folder, { recursive: true }))

async function faultOf(storage: StorageConfig): Promise<string> {
  try {
    const backend = await openBackend({ storage })
    await backend.close()
  } catch (error) {
    assert.instance(error, ConfigError)
    return error instanceof ConfigError ? error.message : ''
  }
  return ''
}

backends('local opens and stores', async () => {
  const backend = await openBackend({ storage: { type: 'local', path: folder } })
  assert.is(backend.name, 'local')
  const { size } = await backend.put('a/b', bytesOf('bytes'))
  assert.is(size, 5)
  await backend.close()
})

backends('a folder that is missing, or is a file, names the path and the user', async () => {
  const file = join(folder, 'file')
  writeFileSync(file, '')
  for (const path of [join(folder, 'absent'), file]) {
    const fault = await faultOf({ type: 'local', path })
    assert.match(fault, path)
    assert.match(fault, `user ${process.getuid?.()}`)
  }
})

backends('a folder that is no NFS mount is refused, and names itself', async () => {
  const fault = await faultOf({ type: 'nfs', path: folder })
  assert.match(fault, folder)
  assert.match(fault, 'NFS')
})

backends('a bucket stores under its prefix, and one that is down names its endpoint', async () => {
  const fake = await FakeS3.start()
  const { storage } = readConfig({
    STORAGE_BACKEND_TYPE: 's3',
    S3_ENDPOINT: fake.endpoint,
    S3_ACCESS_KEY: fake.accessKeyId,
    S3_SECRET_KEY: fake.secretAccessKey,
    S3_BUCKET: fake.bucket,
    S3_PREFIX: 'images/',
  })
  try {
    const backend = await openBackend({ storage })
    await backend.put('a/b', bytesOf('bytes'))
    await backend.close()
    assert.is(fake.content('images/a/b')?.toString(), 'bytes')
    assert.is(fake.content('a/b'), undefined)
  } finally {
    await fake.stop()
  }
  // Nothing to correct: it is down now.
  await openBackend({ storage }).then(
    () => assert.unreachable(),
    (error: unknown) => {
      assert.ok(isImageError(error, 'unavailable'))
      assert.match(String(error), fake.endpoint)
      assert.not.match(String(error), fake.secretAccessKey)
    },
  )
})

backends('a folder that may not be written names path and mode', async () => {
  const path = mkdtempSync(join(folder, 'denied-'))
  chmodSync(folder, 0o755)
  chmodSync(path, 0o555)
  // Root may write everywhere, so for this moment it is somebody else.
  const isRoot = process.geteuid?.() === 0
  if (isRoot) process.seteuid?.(65_534)
  const fault = await faultOf({ type: 'local', path }).finally(() => {
    if (isRoot) process.seteuid?.(0)
  })
  assert.match(fault, path)
  assert.match(fault, /mode 0?555/)
})

backends.run()
