// The shapes in /openapi.json: JSON Schema of what the API takes and gives.

import { reasons, sourceTypes } from '@backing-image/core'

export type Schema = Record<string, unknown>

export const text: Schema = { type: 'string' }
export const count: Schema = { type: 'integer', minimum: 0 }
export const texts: Schema = { type: 'array', items: text }
const textMap: Schema = { type: 'object', additionalProperties: text }
export const time: Schema = { type: 'string', format: 'date-time' }

export const say = (schema: Schema, description: string): Schema => ({ ...schema, description })
const ref = (name: string): Schema => ({ $ref: `#/components/schemas/${name}` })

export const nameSchema: Schema = {
  type: 'string',
  pattern: '^[a-z0-9][a-z0-9_.-]+$',
  minLength: 2,
  maxLength: 64,
}

export const versionSchema: Schema = {
  type: 'string',
  pattern: '^[A-Za-z0-9][A-Za-z0-9._-]*$',
  maxLength: 64,
}

export const uuidSchema: Schema = { type: 'string', pattern: '^[0-9a-f]{8}$' }

export const stateSchema: Schema = {
  type: 'string',
  enum: ['pending', 'starting', 'in-progress', 'ready', 'failed', 'unknown'],
}

const sourceType: Schema = { type: 'string', enum: sourceTypes }
const dataEngine: Schema = { type: 'string', enum: ['v1', 'v2'], default: 'v1' }
const copies = say(count, 'How many copies Longhorn should keep; 0 leaves it to Longhorn.')

const checksum = say(
  text,
  'sha512:<hex>, sha256:<hex>, sha1:<hex>, md5:<hex>, or bare hex told apart by its length.',
)

const label = say(texts, 'Each key=value.')

/** What an upload may say besides its bytes: query of a PUT, fields of a form. */
export const uploadOptions: Record<string, Schema> = {
  version: versionSchema,
  checksum,
  size: say(count, 'Bytes that will come.'),
  label,
  dataEngine,
  minNumberOfCopies: copies,
  decompress: {
    type: 'string',
    enum: ['auto', 'never'],
    default: 'never',
    description: 'auto unpacks gzip, xz, zstd and bzip2 on the way.',
  },
}

/** An object whose every property is there, but those that are named. */
export function object(properties: Record<string, Schema>, optional: string[] = []): Schema {
  const required = Object.keys(properties).filter((name) => !optional.includes(name))
  return { type: 'object', properties, required }
}

const parameters: Schema = {
  type: 'object',
  properties: { credential: object({ secretRef: text }) },
  additionalProperties: text,
}

const image = object(
  {
    name: nameSchema,
    version: versionSchema,
    uuid: say(uuidSchema, 'Of the ingest that brought the bytes.'),
    state: stateSchema,
    progress: { type: 'integer', minimum: 0, maximum: 100 },
    processedSize: say(count, 'Bytes received so far.'),
    message: say(text, 'What went wrong; empty when nothing did.'),
    size: say(count, 'Bytes of the file.'),
    virtualSize: say(count, 'Bytes that a guest sees.'),
    realSize: say(count, 'Bytes that the storage has allocated.'),
    format: { type: 'string', enum: ['raw', 'qcow2', 'iso', ''] },
    sourceType,
    parameters: say(parameters, 'Without secrets.'),
    expectedChecksum: say(
      text,
      'The SHA-512 that was given, as hex; empty when none was, or that of packed bytes.',
    ),
    expected: say(text, 'The digest that was given, algorithm:hex; else empty.'),
    currentChecksum: say(text, 'SHA-512 of the stored bytes, as hex.'),
    checksums: object({ sha512: text, sha256: text }),
    labels: textMap,
    dataEngine,
    minNumberOfCopies: copies,
    nodeSelector: texts,
    diskSelector: texts,
    warnings: say(texts, 'Sentences for people.'),
    createdAt: time,
    updatedAt: time,
    packed: say(
      object({
        compression: { type: 'string', enum: ['gzip', 'xz', 'zstd', 'bzip2'] },
        size: count,
        checksums: object({ sha512: text, sha256: text }),
      }),
      'What arrived, when that was unpacked on the way.',
    ),
    rollbackOf: say(versionSchema, 'The version that this one points at.'),
    links: object({
      self: say(text, 'Always this ingest, whatever the name comes to mean.'),
      download: text,
      file: say(
        { type: ['string', 'null'] },
        'The permanent URL of the bytes; null until ready, and where tokens are set without a ' +
          'URL_SIGNING_KEY.',
      ),
    }),
    longhorn: say(
      {
        type: 'object',
        additionalProperties: object({
          name: say(text, 'What it is called there; empty when it is not known there.'),
          state: say(text, 'ready, as soon as one copy is; what else docs/api.md lists.'),
          message: text,
          disks: {
            type: 'object',
            additionalProperties: object({ state: text, progress: count, message: text }),
          },
        }),
      },
      'What each cluster that shares this store makes of it, by cluster.',
    ),
  },
  ['packed', 'rollbackOf'],
)

const document: Schema = {
  type: 'object',
  properties: {
    name: nameSchema,
    version: versionSchema,
    sourceType,
    parameters,
    checksum,
    labels: textMap,
    dataEngine,
    minNumberOfCopies: copies,
    nodeSelector: texts,
    diskSelector: texts,
  },
  required: ['name', 'sourceType'],
  additionalProperties: false,
}

const manifest = object({
  apiVersion: { const: 'longhorn.io/v1beta2' },
  kind: { const: 'BackingImage' },
  metadata: object({ name: nameSchema }),
  spec: object({ sourceType }),
})

const storageClass = object({
  apiVersion: { const: 'storage.k8s.io/v1' },
  kind: { const: 'StorageClass' },
  metadata: object({ name: text }),
  provisioner: { const: 'driver.longhorn.io' },
  parameters: say(
    { type: 'object', additionalProperties: text },
    'With backingImage, and how to make it where it is missing.',
  ),
})

const form: Schema = {
  type: 'object',
  properties: {
    name: nameSchema,
    ...uploadOptions,
    file: say({ type: 'string', contentMediaType: 'application/octet-stream' }, 'The last field.'),
  },
  required: ['name', 'file'],
}

const problem = object(
  {
    type: { const: 'about:blank' },
    title: text,
    status: { type: 'integer' },
    detail: say(text, 'What was found, what was expected and what to do.'),
    code: { type: 'string', enum: reasons },
    expected: text,
    actual: text,
    state: stateSchema,
  },
  ['expected', 'actual', 'state'],
)

const readiness = object(
  {
    status: { type: 'string', enum: ['ok', 'unavailable'] },
    backend: text,
    capabilities: texts,
    findings: {
      type: 'array',
      items: object({
        what: text,
        level: { type: 'string', enum: ['ok', 'warn', 'FAIL'] },
        text,
      }),
    },
    writable: { type: 'boolean' },
    lastCheckAt: { type: ['string', 'null'], format: 'date-time' },
    lastCheckMs: { type: ['integer', 'null'] },
    message: text,
    longhorn: object({
      cluster: text,
      url: text,
      register: { type: 'string', enum: ['all', 'labelled', 'off'] },
      status: { type: 'string', enum: ['ok', 'unavailable', 'unknown'] },
      isLeading: say({ type: 'boolean' }, 'Whether this is the server that registers.'),
      message: text,
      since: { type: 'string', format: 'date-time' },
      images: say({ type: 'object', additionalProperties: count }, 'How many, by state there.'),
    }),
  },
  [
    'longhorn',
    'backend',
    'capabilities',
    'findings',
    'writable',
    'lastCheckAt',
    'lastCheckMs',
    'message',
  ],
)

export const schemas: Record<string, Schema> = {
  Image: image,
  ImagePage: object({
    data: { type: 'array', items: ref('Image') },
    continue: say({ type: ['string', 'null'] }, 'For the next page; null on the last.'),
  }),
  Document: document,
  Manifest: manifest,
  StorageClass: storageClass,
  Form: form,
  Rollback: { ...object({ version: versionSchema }), additionalProperties: false },
  Problem: problem,
  Readiness: readiness,
  Health: object({ status: { const: 'ok' } }),
}
