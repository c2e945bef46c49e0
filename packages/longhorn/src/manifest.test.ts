// Manifests: each has the fields that its taker knows and no others, volumes are large enough, and what
// StorageClasses say of an image agrees with the rules for them.

import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { type ManifestImage, type ManifestOptions, manifestKinds, manifestOf } from './manifest.ts'
import { checkStorageClass } from './storage-class.ts'
import { classParameters, fieldsOf, isOfKind } from './testing/fields.ts'

const manifests = suite('manifests')

const plain: ManifestImage = {
  name: 'debian-12',
  url: 'https://images.example.org/files/debian-12-0badcafe/-/debian-12.qcow2',
  sha512: 'ab'.repeat(64),
  virtualSize: 2 ** 31,
  dataEngine: 'v1',
  minNumberOfCopies: 0,
  nodeSelector: [],
  diskSelector: [],
}
const full: ManifestImage = {
  ...plain,
  // Characters that JSON, YAML and shells care for.
  url: `${plain.url}?a='"&b=%7B%7D\\#:- `,
  minNumberOfCopies: 2,
  nodeSelector: ['ssd', 'fast'],
  diskSelector: ['nvme'],
}
const options: ManifestOptions = { namespace: 'there', fromBackup: 's3://backups@eu/?backup=b1' }

const usual = new Set(['apiVersion', 'kind', 'metadata', 'spec', 'allowVolumeExpansion'])

for (const kind of manifestKinds) {
  for (const [what, image, asked] of [
    ['plain', plain, {}],
    ['full', full, options],
  ] as const) {
    manifests(`${kind}: a ${what} one has fields that are known, of the right kinds`, () => {
      const manifest = manifestOf(kind, image, asked)
      assert.is(manifest.kind, kind)
      const known = fieldsOf[kind]
      if (!known) return
      const { spec } = manifest
      const fields = Object.entries((spec as object | undefined) ?? manifest)
      for (const [key, value] of fields) {
        if (spec === undefined && usual.has(key)) continue
        const expected = known[key]
        assert.ok(expected !== undefined, `${kind} has no field ${key}`)
        assert.ok(isOfKind(value, expected), `${key} is ${JSON.stringify(value)}`)
      }
    })
  }
}

manifests('a StorageClass is right, and makes the same image as the BackingImage', () => {
  const manifest = manifestOf('StorageClass', full)
  const parameters = manifest['parameters'] as Record<string, string>
  assert.equal(
    Object.keys(parameters).filter((key) => !classParameters.has(key)),
    [],
  )
  const { image, problems } = checkStorageClass(manifest)
  assert.equal(problems, [])
  assert.equal(image, {
    backingImage: full.name,
    sourceType: 'download',
    parameters: { url: full.url },
    checksum: full.sha512,
    minNumberOfCopies: 2,
    nodeSelector: ['ssd', 'fast'],
    diskSelector: ['nvme'],
    dataEngine: 'v1',
  })
  const existing = {
    sourceType: 'download',
    parameters: { url: full.url },
    expectedChecksum: full.sha512,
    currentChecksum: '',
    dataEngine: 'v1',
  }
  assert.equal(checkStorageClass(manifest, existing).problems, [])
})

for (const [virtualSize, expected] of [
  [1, 2 * 2 ** 20],
  [2 ** 31, 2 ** 31],
  [2 ** 31 + 512, 2 ** 31 + 2 * 2 ** 20],
] as const) {
  manifests(`a volume for ${virtualSize} bytes has ${expected}`, () => {
    const image = { ...plain, virtualSize }
    const size = (kind: 'Volume' | 'PersistentVolumeClaim' | 'DataVolume', path: string[]) =>
      path.reduce<unknown>(
        (found, key) => (found as Record<string, unknown>)[key],
        manifestOf(kind, image),
      )
    const requested = ['resources', 'requests', 'storage']
    assert.is(size('Volume', ['spec', 'size']), String(expected))
    assert.is(size('PersistentVolumeClaim', ['spec', ...requested]), String(expected))
    assert.is(size('DataVolume', ['spec', 'storage', ...requested]), String(expected))
  })
}

manifests(
  'what belongs to Longhorn goes to its namespace, and the rest to where it is applied',
  () => {
    const namespaces = manifestKinds.map((kind) => manifestOf(kind, plain).metadata.namespace)
    const own = 'longhorn-system'
    assert.equal(namespaces, [own, undefined, undefined, undefined, own, undefined])
    const named = manifestKinds.map((kind) => manifestOf(kind, plain, options).metadata.namespace)
    assert.equal(named, ['there', undefined, 'there', undefined, 'there', 'there'])
  },
)

manifests('a volume may come from a backup, with another image below it', () => {
  const { spec } = manifestOf('Volume', plain, options)
  assert.is((spec as Record<string, unknown>)['fromBackup'], options.fromBackup)
  assert.is((spec as Record<string, unknown>)['backingImage'], plain.name)
})

manifests.run()
