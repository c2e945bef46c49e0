// StorageClasses with a backing image: every disagreement with Longhorn's rules, and with the image that
// is there, is named with its field.

import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { type ExistingImage, backingImageOf, checkStorageClass } from './storage-class.ts'

const checking = suite('the check of a StorageClass')

const url = 'https://images.example.org/debian.qcow2?a=1&b="2"'
const sha512 = 'ab'.repeat(64)

function classOf(parameters: Record<string, unknown>, more: object = {}): object {
  return {
    apiVersion: 'storage.k8s.io/v1',
    kind: 'StorageClass',
    metadata: { name: 'longhorn-debian' },
    provisioner: 'driver.longhorn.io',
    parameters: { numberOfReplicas: '3', ...parameters },
    ...more,
  }
}

const whole = {
  backingImage: 'debian',
  backingImageDataSourceType: 'download',
  backingImageDataSourceParameters: JSON.stringify({ url }),
  backingImageChecksum: sha512,
}

const existing: ExistingImage = {
  sourceType: 'download',
  parameters: { url },
  expectedChecksum: sha512,
  currentChecksum: sha512,
  dataEngine: 'v1',
}

/** The fields that are wrong. */
function fieldsOf(value: unknown, there?: ExistingImage): string[] {
  return checkStorageClass(value, there).problems.map(({ field }) => field)
}

checking('one that is right makes an image as it says', () => {
  const more = {
    backingImageMinNumberOfCopies: '2',
    backingImageNodeSelector: 'ssd, fast',
    backingImageDiskSelector: '',
    dataEngine: 'v1',
  }
  assert.equal(checkStorageClass(classOf({ ...whole, ...more })), {
    image: {
      backingImage: 'debian',
      sourceType: 'download',
      parameters: { url },
      checksum: sha512,
      minNumberOfCopies: 2,
      nodeSelector: ['ssd', 'fast'],
      diskSelector: [],
      dataEngine: 'v1',
    },
    problems: [],
  })
})

checking('an image that is there needs nothing but its name', () => {
  assert.equal(fieldsOf(classOf({ backingImage: 'debian' }), existing), [])
  assert.equal(fieldsOf(classOf(whole), existing), [])
})

checking('the order of parameters does not matter, and their depth does', () => {
  const parameters = { 'volume-name': 'data', 'export-type': 'raw' }
  const there = { ...existing, sourceType: 'export-from-volume', parameters }
  const asked = (text: string): object =>
    classOf({
      backingImage: 'debian',
      backingImageDataSourceType: 'export-from-volume',
      backingImageDataSourceParameters: text,
    })
  assert.equal(fieldsOf(asked('{"export-type":"raw","volume-name":"data"}'), there), [])
  assert.equal(fieldsOf(asked('{"volume-name":"data"}'), there), [
    'parameters.backingImageDataSourceParameters',
  ])
})

for (const type of ['upload', 'restore', 'clone', '']) {
  checking(`a missing image is not made by ${JSON.stringify(type)}`, () => {
    const { problems } = checkStorageClass(
      classOf({ backingImage: 'debian', backingImageDataSourceType: type }),
    )
    assert.equal(
      problems.map(({ field, expected, actual }) => [field, expected, actual]),
      [['parameters.backingImageDataSourceType', 'download or export-from-volume', type]],
    )
  })
}

const wrong: [string, Record<string, string>, string[]][] = [
  [
    'parameters that are no JSON',
    { backingImageDataSourceParameters: '{url: x}' },
    // Without them the URL is missing, too.
    ['backingImageDataSourceParameters', 'backingImageDataSourceParameters'],
  ],
  [
    'a value that is no text',
    { backingImageDataSourceParameters: '{"url":1}' },
    ['backingImageDataSourceParameters', 'backingImageDataSourceParameters'],
  ],
  [
    'an export without its type',
    {
      backingImageDataSourceType: 'export-from-volume',
      backingImageDataSourceParameters: '{"volume-name":"data"}',
    },
    ['backingImageDataSourceParameters'],
  ],
  [
    'an export of another type',
    {
      backingImageDataSourceType: 'export-from-volume',
      backingImageDataSourceParameters: '{"volume-name":"data","export-type":"vmdk"}',
    },
    ['backingImageDataSourceParameters'],
  ],
  [
    'a checksum with its name',
    { backingImageChecksum: `sha512:${sha512}` },
    ['backingImageChecksum'],
  ],
  ['a checksum in upper case', { backingImageChecksum: 'AB'.repeat(64) }, ['backingImageChecksum']],
  ['copies below one', { backingImageMinNumberOfCopies: '-1' }, ['backingImageMinNumberOfCopies']],
  ['copies in words', { backingImageMinNumberOfCopies: 'two' }, ['backingImageMinNumberOfCopies']],
  ['an engine that is none', { dataEngine: 'v3' }, ['dataEngine']],
]
for (const [what, change, fields] of wrong) {
  checking(`${what} is named`, () => {
    const found = fieldsOf(classOf({ ...whole, ...change }))
    assert.equal(
      found,
      fields.map((field) => `parameters.${field}`),
    )
  })
}

checking('every disagreement with what is there is named', () => {
  const there: ExistingImage = {
    sourceType: 'upload',
    parameters: {},
    expectedChecksum: '',
    currentChecksum: 'cd'.repeat(64),
    dataEngine: 'v1',
  }
  const { problems } = checkStorageClass(classOf({ ...whole, dataEngine: 'v2' }), there)
  assert.equal(
    problems.map(({ field, expected }) => [field, expected]),
    [
      ['parameters.backingImageDataSourceType', 'upload'],
      ['parameters.backingImageDataSourceParameters', '{}'],
      ['parameters.backingImageChecksum', 'cd'.repeat(64)],
      ['parameters.dataEngine', 'v1'],
    ],
  )
  assert.ok(problems.every(({ message }) => message.includes('debian')))
})

checking('a class of another provisioner, or without an image, is told of', () => {
  assert.equal(fieldsOf(classOf(whole, { provisioner: 'nfs' })), ['provisioner'])
  assert.equal(fieldsOf(classOf({})), ['parameters.backingImage'])
  assert.equal(fieldsOf(classOf({}, { parameters: undefined })), ['parameters.backingImage'])
})

checking('what is no StorageClass is told of field by field', () => {
  for (const value of [undefined, 7, 'text', [], {}]) {
    assert.ok(fieldsOf(value).length > 0)
    assert.is(backingImageOf(value), undefined)
  }
  const { problems } = checkStorageClass(classOf({ numberOfReplicas: 3 }))
  assert.equal(
    problems.map(({ field, actual }) => [field, actual]),
    [['parameters.numberOfReplicas', '3']],
  )
  assert.is(backingImageOf(classOf(whole)), 'debian')
})

checking.run()
