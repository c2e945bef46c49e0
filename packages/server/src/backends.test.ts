import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { bytesOf } from '@backing-image/core'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { openBackend } from './backends.ts'
import { ConfigError, type StorageConfig, readConfig } from './config.ts'

const backends = suite('backends')
const folder = mkdtempSync(join(tmpdir(), 'backends-'))

backends.after(() => rmSync(folder, { recursive: true }))

async function faultOf(storage: StorageConfig): Promise<string> {
  try {
    const backend = await openBackend(storage)
    await backend.close()
  } catch (error) {
    assert.instance(error, ConfigError)
    return error instanceof ConfigError ? error.message : ''
  }
  return ''
}

backends('local opens and stores', async () => {
  const backend = await openBackend({ type: 'local', path: folder })
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

backends('nfs and s3 are valid configuration, and not built yet', async () => {
  const s3 = {
    S3_ENDPOINT: 'http://s3',
    S3_ACCESS_KEY: 'a',
    S3_SECRET_KEY: 's',
    S3_BUCKET: 'images',
  }
  for (const type of ['nfs', 's3']) {
    const { storage } = readConfig({ ...s3, STORAGE_BACKEND_TYPE: type })
    assert.match(await faultOf(storage), `"${type}" was given; it is not built in this version`)
  }
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
