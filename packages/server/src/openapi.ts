// /openapi.json: the whole HTTP API as OpenAPI 3.1, written by hand. A test compares it with the
// routes and with docs/api.md.

import {
  type Responses,
  guarded,
  header,
  json,
  limit,
  next,
  path,
  problems,
  query,
  ref,
  syncHeader,
} from './openapi-parts.ts'
import {
  nameSchema,
  schemas,
  stateSchema,
  uploadOptions,
  uuidSchema,
  versionSchema,
} from './openapi-schemas.ts'
import { blockSchemas, blocksRoute } from './openapi-blocks.ts'
import { consumerRoutes, consumerSchemas } from './openapi-consumers.ts'
import { storeRoutes, storeSchemas } from './openapi-store.ts'

const location = { Location: { description: 'The image.', schema: { type: 'string' } } }
const nameInPath = path('name', nameSchema)
const version = query('version', versionSchema, 'Exactly this version.')

const onlyNew = header('If-None-Match', '*: only when the name has no image yet.')
const digestHeaders = [
  header('Repr-Digest', 'RFC 9530; sha-512 and sha-256 are verified.'),
  header('Content-Digest', 'Likewise.'),
]

/** 404: the image was deleted while it came. */
const ingestProblems = [400, ...guarded, 404, 409, 412, 413, 415, 422, 429, 500, 503, 507]

const binary = { 'application/octet-stream': { schema: {} } }

const downloadParameters = [
  header('Range', 'One range of bytes; several give the whole.'),
  header('If-Range', 'A strong ETag.'),
  header('If-Match', 'ETags, one of which must be that of the image.'),
  header('If-Unmodified-Since', 'A date; 412 when the image is later.'),
  header('If-None-Match', 'ETags that the client has.'),
  header('If-Modified-Since', 'A date; a later image is sent.'),
  syncHeader,
]

const documents = [ref('Document'), ref('Manifest'), ref('StorageClass')]

const handedOver = {
  description: 'To a link of the bucket, where S3_REDIRECT_DOWNLOADS is set.',
  headers: { Location: { schema: { type: 'string', format: 'uri' } } },
}

const downloadResponses: Responses = {
  200: { description: 'The exact stored bytes.', content: binary },
  206: { description: 'The range that was asked for.', content: binary },
  304: { description: 'The client has these bytes already.' },
  ...problems(403, 404, 412, 416, 429, 500, 503),
}

function download(summary: string, parameters: object[], responses: Responses, more = {}): object {
  const both = { parameters: [...parameters, ...downloadParameters], responses, ...more }
  return {
    get: { summary, ...both },
    head: { summary: `${summary} The head only.`, ...both },
  }
}

const imageRoutes = {
  '/v1/backing-images': {
    get: {
      summary: 'One image a name, in name order.',
      parameters: [
        query('name', nameSchema, 'Only this name.'),
        query('state', stateSchema, 'Only in this state.'),
        query('label', { type: 'array', items: { type: 'string' } }, 'key=value; all must be met.'),
        query('sourceType', { type: 'string' }, 'Only from this kind of source.'),
        query('dataEngine', { type: 'string', enum: ['v1', 'v2'] }, 'Only for this data engine.'),
        limit,
        next,
      ],
      responses: { 200: json('A page.', 'ImagePage'), ...problems(400, ...guarded, 500, 503) },
    },
    post: {
      summary: 'Upload as a form, or describe an image of another source type.',
      parameters: [
        onlyNew,
        query('force', { type: 'boolean' }, 'Of a document: a new version, even of what is there.'),
      ],
      requestBody: {
        required: true,
        content: {
          'multipart/form-data': { schema: ref('Form') },
          'application/json': { schema: { anyOf: documents } },
          'application/yaml': { schema: { anyOf: documents } },
        },
      },
      responses: {
        200: json('It is there already.', 'Image', location),
        201: json('Of an upload: stored, checked and published.', 'Image', location),
        202: json('Of a document: accepted as a job; poll Location.', 'Image', location),
        ...problems(...ingestProblems),
      },
    },
  },
  '/v1/backing-images/{name}': {
    put: {
      summary: 'Upload: the body is the image.',
      parameters: [
        nameInPath,
        ...Object.entries(uploadOptions).map(([name, schema]) =>
          query(name, schema, 'Of the image.'),
        ),
        onlyNew,
        ...digestHeaders,
      ],
      requestBody: { required: true, content: binary },
      responses: {
        200: json('The same bytes were there already.', 'Image', location),
        201: json('Stored, checked and published.', 'Image', location),
        ...problems(...ingestProblems),
      },
    },
    get: {
      summary: 'The newest ready version, else the newest work in flight or failed.',
      parameters: [
        nameInPath,
        version,
        query('uuid', uuidSchema, 'Exactly this ingest.'),
        query('state', { const: 'ready' }, '404 unless ready.'),
        query('wait', { type: 'integer', minimum: 0, maximum: 3600 }, 'Seconds to wait for it.'),
      ],
      responses: { 200: json('The image.', 'Image'), ...problems(400, ...guarded, 404, 500, 503) },
    },
    delete: {
      summary: 'Delete all versions, or one, here and in Longhorn; cancels work in flight.',
      parameters: [
        nameInPath,
        version,
        query('force', { type: 'boolean' }, 'true: Longhorn is not asked, and keeps what it has.'),
      ],
      responses: {
        204: { description: 'It is gone.' },
        ...problems(400, ...guarded, 404, 409, 500, 503),
      },
    },
  },
  '/v1/backing-images/{name}/versions': {
    get: {
      summary: 'All versions, newest first, failed and in-flight ones too.',
      parameters: [nameInPath, limit, next],
      responses: { 200: json('A page.', 'ImagePage'), ...problems(400, ...guarded, 404, 500, 503) },
    },
  },
  '/v1/backing-images/{name}/rollback': {
    post: {
      summary: "Publish a new version that points at an older version's bytes.",
      parameters: [nameInPath],
      requestBody: { required: true, content: { 'application/json': { schema: ref('Rollback') } } },
      responses: {
        201: json('The new version.', 'Image', location),
        ...problems(400, ...guarded, 404, 413, 500, 503),
      },
    },
  },
  '/v1/backing-images/{name}/download': download(
    'The exact stored bytes of the newest ready version.',
    [nameInPath, version],
    { ...downloadResponses, 307: handedOver, ...problems(400, 401) },
  ),
  '/v1/backing-images/{name}/blocks': blocksRoute([nameInPath, version]),
  ...consumerRoutes([nameInPath, version]),
}

const open = { security: [] }

const otherRoutes = {
  '/health': {
    get: {
      summary: 'The process is alive; from memory.',
      responses: { 200: json('It is.', 'Health') },
      ...open,
    },
  },
  '/ready': {
    get: {
      summary: 'The storage works, by the last look at it; from memory.',
      responses: { 200: json('It does.', 'Readiness'), 503: json('It does not.', 'Readiness') },
      security: [{}, { bearer: [] }, { basic: [] }],
    },
  },
  '/metrics': {
    get: {
      summary: 'Metrics for Prometheus.',
      responses: {
        200: { description: 'Text format.', content: { 'text/plain': {} } },
        ...problems(...guarded),
      },
    },
  },
  '/openapi.json': {
    get: {
      summary: 'This document.',
      responses: {
        200: { description: 'OpenAPI 3.1.', content: { 'application/json': {} } },
        ...problems(...guarded),
      },
    },
  },
  '/v1/events': {
    get: {
      summary: 'Server-sent events: work in flight first, then every change.',
      parameters: [query('name', nameSchema, 'Only of this name.')],
      responses: {
        200: { description: 'A stream.', content: { 'text/event-stream': {} } },
        ...problems(400, ...guarded, 500, 503),
      },
    },
  },
  '/files/{id}/{signature}/{filename}': download(
    'The permanent URL of the bytes of one ingest, without credentials.',
    [path('id'), path('signature'), path('filename')],
    { ...downloadResponses, ...problems(400) },
    open,
  ),
}

export interface OpenapiDocument {
  openapi: string
  info: object
  security: object[]
  /** By path, then by method in lower case. */
  paths: Record<string, object>
  components: object
}

export function openapiDocument(programVersion: string): OpenapiDocument {
  return {
    openapi: '3.1.0',
    info: {
      title: 'Backing image manager',
      version: programVersion,
      license: { name: 'Apache-2.0', identifier: 'Apache-2.0' },
    },
    security: [{ bearer: [] }, { basic: [] }],
    paths: { ...otherRoutes, ...imageRoutes, ...storeRoutes },
    components: {
      schemas: { ...schemas, ...blockSchemas, ...consumerSchemas, ...storeSchemas },
      responses: {
        Problem: {
          description: 'What was wrong, as RFC 9457 has it; its code is one of a closed list.',
          content: { 'application/problem+json': { schema: ref('Problem') } },
        },
      },
      securitySchemes: {
        bearer: { type: 'http', scheme: 'bearer' },
        basic: { type: 'http', scheme: 'basic', description: 'The password is the token.' },
      },
    },
  }
}
