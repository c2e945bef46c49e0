// A store of very many small images, written straight into the layout that docs/layout.md specifies:
// to upload them would take far longer than to measure them.

import { createHash } from 'node:crypto'
import { mkdirSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { root } from '../scripts/install.js'

const imageBytes = 4096
const publishedAt = new Date('2026-01-01T00:00:00Z')

/** Makes the storage folder and `count` images in it, each of one version. */
export async function seedStore(storage, count) {
  // Compiled only just before, on a clean clone.
  const core = await import(join(root, 'packages/core/dist/index.js'))
  const write = (key, content) => {
    const path = join(storage, key)
    mkdirSync(dirname(path), { recursive: true })
    writeFileSync(path, content)
  }
  for (let index = 0; index < count; index += 1) {
    const name = `image-${String(index).padStart(6, '0')}`
    const uuid = index.toString(16).padStart(8, '0')
    const content = Buffer.alloc(imageBytes, `${name} `)
    const facts = factsOf(content)
    const config = { name, uuid, facts, expectedChecksum: '' }
    const modifiedAt = BigInt(publishedAt.getTime()) * 1_000_000n
    write(core.bytesKey(name, uuid), content)
    write(core.configKey(name, uuid), core.formatBackingConfig({ ...config, modifiedAt }))
    write(core.recordKey(name, '1'), core.formatRecord(recordOf(core, { name, uuid, facts })))
  }
}

function factsOf(content) {
  const digest = (algorithm) => createHash(algorithm).update(content).digest('hex')
  return {
    size: imageBytes,
    virtualSize: imageBytes,
    realSize: imageBytes,
    format: 'raw',
    checksums: { sha512: digest('sha512'), sha256: digest('sha256') },
    warnings: [],
  }
}

function recordOf(core, { name, uuid, facts }) {
  return {
    layout: core.layoutVersion,
    id: core.freshId(),
    name,
    version: '1',
    uuid,
    sequence: 1,
    keys: [core.bytesKey(name, uuid)],
    ...facts,
    sourceType: 'upload',
    parameters: {},
    labels: { os: 'debian', team: 'infrastructure' },
    dataEngine: 'v1',
    minNumberOfCopies: 0,
    nodeSelector: [],
    diskSelector: [],
    expected: [],
    createdAt: publishedAt.toISOString(),
    publishedAt: publishedAt.toISOString(),
  }
}
