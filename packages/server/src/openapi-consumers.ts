// The part of /openapi.json that is about those who use images: preflight, manifests, StorageClasses.

import { consumers, manifestKinds } from '@backing-image/longhorn'
import { guarded, json, problems, query } from './openapi-parts.ts'
import {
  type Schema,
  count,
  nameSchema,
  object,
  say,
  text,
  versionSchema,
} from './openapi-schemas.ts'

const sentences: Schema = { type: 'array', items: text }

const look = object({
  consumer: { type: 'string', enum: [...consumers] },
  fits: say({ type: 'boolean' }, 'Whether there are no problems.'),
  problems: say(sentences, 'Why it does not fit, and what to do.'),
  notes: say(sentences, 'What will be otherwise than one might think.'),
  rendition: say(
    { type: 'string', enum: ['stored', 'aligned'] },
    'aligned: with zeros at the end, up to whole sectors of 512 bytes.',
  ),
  url: say(
    { type: ['string', 'null'] },
    'Of that rendition, permanent; null without a key to sign it.',
  ),
  size: say(count, 'Of that rendition, in bytes.'),
  sha512: say(text, 'Of that rendition, as hex.'),
})

const problem = object({
  field: say(text, 'The path to it.'),
  expected: text,
  actual: text,
  message: say(text, 'What to do.'),
})

const diskFile = object({
  state: say(text, "Longhorn's own word."),
  progress: { type: 'integer', minimum: 0, maximum: 100 },
  message: text,
})

const longhornImage = object({
  name: text,
  sourceType: text,
  size: count,
  virtualSize: count,
  currentChecksum: say(text, 'SHA-512 as hex; empty as long as no copy is ready.'),
  state: {
    type: 'string',
    enum: ['pending', 'in-progress', 'ready', 'failed', 'deleting', 'unknown'],
  },
  disks: say(
    { type: 'object', additionalProperties: diskFile },
    'Its copies, by the UUID of the disk.',
  ),
  isOurs: say({ type: 'boolean' }, 'Whether Longhorn has it from this server.'),
})

const diskImage = object({
  name: text,
  uuid: text,
  path: say(text, 'On the server.'),
  size: count,
  virtualSize: say(count, '0 where it can not be told.'),
  realSize: say(count, 'What it takes on the disk, in bytes.'),
  currentChecksum: say(text, 'SHA-512 as hex; empty where nothing tells it of the file as it is.'),
  modifiedAt: { type: 'string', format: 'date-time' },
})

export const consumerSchemas: Record<string, Schema> = {
  Preflight: object({
    name: nameSchema,
    version: versionSchema,
    data: { type: 'array', items: look },
  }),
  LonghornImages: object({ data: { type: 'array', items: longhornImage } }),
  DiskImages: object({ data: { type: 'array', items: diskImage } }),
  StorageClassCheck: object({
    valid: { type: 'boolean' },
    problems: { type: 'array', items: problem },
  }),
}

const disks: Schema = {
  ...object({ disks: { type: 'array', items: text, minItems: 1, maxItems: 100 } }),
  additionalProperties: false,
}

/** `which` are the parameters that choose the image. */
export function consumerRoutes(which: object[]): Record<string, object> {
  return {
    '/v1/backing-images/{name}/preflight': {
      get: {
        summary: 'What each consumer would make of the image.',
        parameters: which,
        responses: {
          200: json('One entry a consumer.', 'Preflight'),
          ...problems(400, ...guarded, 404, 412, 500, 503),
        },
      },
    },
    '/v1/backing-images/{name}/cleanup': {
      post: {
        summary: "Drop Longhorn's copies on some disks, but never the last ready one.",
        parameters: which,
        requestBody: { required: true, content: { 'application/json': { schema: disks } } },
        responses: {
          200: json('The image.', 'Image'),
          ...problems(400, ...guarded, 404, 412, 413, 500, 503),
        },
      },
    },
    '/v1/backing-images/{name}/manifest': {
      get: {
        summary: 'An object for kubectl apply.',
        parameters: [
          ...which,
          query(
            'kind',
            { type: 'string', enum: [...manifestKinds], default: 'BackingImage' },
            'Of it.',
          ),
          query('namespace', text, 'Where it is to be.'),
          query('fromBackup', text, 'Of a Volume: the URL of the backup that it is restored from.'),
        ],
        responses: {
          200: { description: 'As YAML.', content: { 'application/yaml': { schema: text } } },
          ...problems(400, ...guarded, 404, 412, 500, 503),
        },
      },
    },
    '/v1/longhorn/backing-images': {
      get: {
        summary: 'All that the Longhorn of LONGHORN_API_URL has, in name order.',
        responses: {
          200: json('As it is now.', 'LonghornImages'),
          ...problems(400, ...guarded, 412, 500, 503),
        },
      },
    },
    '/v1/longhorn/disk-images': {
      get: {
        summary: 'What Longhorn has put on the disk of --longhorn-disk, by name.',
        responses: {
          200: json('As it is now.', 'DiskImages'),
          ...problems(400, ...guarded, 412, 500, 503),
        },
      },
    },
    '/v1/storage-classes/validate': {
      post: {
        summary: 'Check a StorageClass that names a backing image; nothing is written.',
        requestBody: {
          content: { 'application/yaml': { schema: {} }, 'application/json': { schema: {} } },
        },
        responses: {
          200: json('What is wrong with it.', 'StorageClassCheck'),
          ...problems(400, ...guarded, 413, 415, 500, 503),
        },
      },
    },
  }
}
