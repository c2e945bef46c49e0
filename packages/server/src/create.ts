// POST of a document: an image from a source that the server goes to by itself, as a job.

import { type Image, ImageError, type IngestRequest, parseChecksum } from '@backing-image/core'
import { sourceTypes } from '@backing-image/core'
import { readText } from './body.ts'
import type { Call } from './front.ts'
import { type Request, parseDocument, readRequest } from './manifest.ts'
import { invalid } from './problem.ts'
import { readChoice, readQuery } from './query.ts'
import { isStorageClass, readStorageClass } from './storage-class.ts'
import { type Front, mediaType, mustBeNew } from './upload.ts'
import { baseUrl, viewOf } from './view.ts'

/** What only a Longhorn can give. */
const ofLonghorn = ['longhorn', 'export-from-volume']

/** Handles POST /v1/backing-images with JSON or YAML: 202 with the job, or 200 with what it equals. */
export async function createFromDocument(c: Call, front: Front): Promise<Response> {
  const { force = 'false' } = readQuery(c, 'force')
  const isForced = readChoice('force', force, ['true', 'false']) === 'true'
  const text = await readText(c, front.config.idleTimeoutMs)
  const document = parseDocument(text, mediaType(c))
  const base = baseUrl(c, front.config)
  const meant = isStorageClass(document)
    ? await readStorageClass(c, front, document)
    : { request: readRequest(document) }
  if ('image' in meant) return answer(c, front, meant.image)
  const request = { ...ingestRequest(meant.request, front, base), mustBeNew: mustBeNew(c) }
  const { image, created } = await front.store.pull(request, { force: isForced })
  const { name, version, uuid, sourceType, parameters } = image
  const requestId = c.get('requestId')
  const about = { requestId, name, version, uuid, sourceType, parameters }
  front.log.info(about, created ? 'job accepted' : 'the job is there already')
  return answer(c, front, image, created)
}

function answer(c: Call, front: Front, image: Image, isNew = false): Response {
  const view = viewOf(image, baseUrl(c, front.config), front)
  return c.json(view, isNew ? 202 : 200, { Location: view.links.self })
}

function ingestRequest(asked: Request, front: Front, base: string): IngestRequest {
  const { name, version, parameters, checksum, labels, dataEngine, minNumberOfCopies } = asked
  const sourceType = front.sourceTypes.find((each) => each === asked.sourceType)
  if (!sourceType) throw unavailable(asked, front, base)
  return {
    name,
    ...(version === undefined ? {} : { version }),
    sizeMax: front.config.imageBytesMax,
    description: {
      sourceType,
      parameters,
      labels,
      dataEngine,
      minNumberOfCopies,
      nodeSelector: asked.nodeSelector,
      diskSelector: asked.diskSelector,
      expected: checksum === undefined ? [] : [parseChecksum(checksum)],
    },
  }
}

function unavailable(
  { sourceType, name, version }: Request,
  front: Front,
  base: string,
): ImageError {
  const query = version === undefined ? '' : `?version=${version}`
  const upload = `curl -T FILE '${base}/v1/backing-images/${name}${query}'`
  if (sourceType === 'upload') {
    return invalid(`An upload brings its bytes along instead of a document: ${upload}`)
  }
  const given = JSON.stringify(sourceType.slice(0, 80))
  if (ofLonghorn.includes(sourceType)) {
    return invalid(
      `The source type ${given} brings images from Longhorn; set LONGHORN_API_URL to where its API is, ` +
        'such as http://longhorn-backend:9500.',
    )
  }
  const isKnown = sourceTypes.some((each) => each === sourceType)
  return invalid(
    `The source type ${given} is ${isKnown ? 'not available in this version' : 'not known'}. Known ` +
      `source types: ${sourceTypes.join(', ')}; available: ${front.sourceTypes.join(', ')} and ` +
      `upload (${upload}).`,
  )
}
