// What consumers need to use an image: what each would make of it, manifests for kubectl, and a check of
// StorageClasses. Nothing here asks a cluster, and nothing is written.

import { ImageError, type Image, ingestId } from '@backing-image/core'
import {
  type Consumer,
  type ExistingImage,
  type ManifestKind,
  type Preflight,
  checkStorageClass,
  backingImageOf,
  manifestKinds,
  manifestOf,
  placementOf,
  preflight,
} from '@backing-image/longhorn'
import type { Hono } from 'hono'
import { stringify } from 'yaml'
import { readText } from './body.ts'
import type { Call, Env } from './front.ts'
import { readName } from './images.ts'
import { isDocument, parseDocument } from './manifest.ts'
import { imageNamed, nameInLonghorn } from './registered.ts'
import { unsupportedMedia } from './problem.ts'
import { readChoice, readQuery, readSelection } from './query.ts'
import { type Front, mediaType } from './upload.ts'
import { alignedFileName, baseUrl, fileName } from './view.ts'

/** What the preflight of an image answers. */
export interface PreflightView {
  name: string
  version: string
  data: (Preflight & Rendition)[]
}

/** What is to be fetched, and from where. */
interface Rendition {
  /** Null where there is no key to sign it with. */
  url: string | null
  size: number
  sha512: string
}

/** Who takes what a manifest says; of others there is nothing to say before. */
const takers: Partial<Record<ManifestKind, Consumer>> = {
  BackingImage: 'longhorn-v1',
  StorageClass: 'longhorn-v1',
  DataVolume: 'cdi',
}
const namespacePattern = /^[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?$/

export function addConsumerRoutes(app: Hono<Env>, front: Front): void {
  app.get('/v1/backing-images/:name/preflight', async (c) => {
    const image = await readyImage(c, front, readQuery(c, 'version'))
    const data = await Promise.all(
      (await looks(front, image)).map(async (look) => ({
        ...look,
        ...(await renditionOf(c, front, image, look)),
      })),
    )
    const { name, version } = image
    return c.json({ name, version, data } satisfies PreflightView)
  })

  app.get('/v1/backing-images/:name/manifest', async (c) => {
    const query = readQuery(c, 'kind', 'version', 'namespace', 'fromBackup')
    const kind = readChoice('kind', query.kind ?? 'BackingImage', manifestKinds)
    const { namespace, fromBackup } = query
    if (namespace !== undefined) assertNamespace(namespace)
    const image = await readyImage(c, front, query)
    const look = (await looks(front, image)).find(({ consumer }) => consumer === takers[kind])
    const rendition = await renditionOf(c, front, image, look)
    const name = await nameInLonghorn(front, image)
    const there = takers[kind] === 'longhorn-v1' ? urlThere(front, image, name) : undefined
    const url = there ?? rendition.url
    if (url === null) throw unsigned()
    const manifest = manifestOf(
      kind,
      { ...image, ...placementOf(image), name, url, sha512: rendition.sha512 },
      {
        ...(namespace !== undefined && { namespace }),
        ...(fromBackup !== undefined && { fromBackup }),
      },
    )
    const trouble = takers[kind] === 'longhorn-v1' ? troubleOf(front, image) : []
    const said = [...trouble, ...(look?.problems ?? []), ...(look?.notes ?? [])].map(
      (line) => `# ${line}\n`,
    )
    // A line that is folded would be another text in a shell or an editor.
    const text = `${said.join('')}${stringify(manifest, { lineWidth: 0 })}`
    return c.body(text, 200, { 'Content-Type': 'application/yaml' })
  })

  app.post('/v1/storage-classes/validate', async (c) => {
    readQuery(c)
    const type = mediaType(c)
    if (!isDocument(type)) {
      throw unsupportedMedia(
        'A StorageClass is application/yaml or application/json: ' +
          "curl -H 'Content-Type: application/yaml' --data-binary @FILE URL",
      )
    }
    const value = parseDocument(await readText(c, front.config.idleTimeoutMs), type)
    const { problems } = checkStorageClass(value, await existingFor(c, front, value))
    return c.json({ valid: problems.length === 0, problems })
  })
}

async function readyImage(
  c: Call,
  { store }: Front,
  { version }: { version?: string },
): Promise<Image> {
  const select = readSelection(version === undefined ? {} : { version })
  return await store.get(readName(c), { ...select, state: 'ready' })
}

/** The image that a StorageClass names: as Longhorn has it, whoever made it; else as it would be. */
async function existingFor(
  c: Call,
  front: Front,
  value: unknown,
): Promise<ExistingImage | undefined> {
  const name = backingImageOf(value)
  if (name === undefined) return undefined
  const there = front.longhorn.cluster?.seen.find((each) => each.name === name)
  if (there) return there
  const image = await imageNamed(front, name)
  return image && (await asRegistered(c, front, image))
}

/** What Longhorn was given before PUBLIC_URL or the key changed: with another one it would refuse. */
function urlThere({ longhorn }: Front, image: Image, name: string): string | undefined {
  const there = longhorn.cluster?.seen.find((each) => each.name === name)
  const url = there?.parameters['url']
  return url?.includes(`/files/${ingestId(image.name, image.uuid)}/`) ? url : undefined
}

/** What stands in the way of an image's manifest in Longhorn now; empty where nothing does. */
function troubleOf({ longhorn }: Front, image: Image): string[] {
  const { cluster } = longhorn.cluster?.report() ?? {}
  const status = cluster === undefined ? undefined : longhorn.board.of(image)[cluster]
  return status && ['conflict', 'refused'].includes(status.state) ? [status.message] : []
}

/** As Longhorn has it when it was made by our manifest. */
export async function asRegistered(c: Call, front: Front, image: Image): Promise<ExistingImage> {
  const look = (await looks(front, image)).find(({ consumer }) => consumer === 'longhorn-v1')
  const { url, sha512 } = await renditionOf(c, front, image, look)
  return {
    sourceType: 'download',
    parameters: url === null ? {} : { url },
    expectedChecksum: sha512,
    currentChecksum: sha512,
    dataEngine: placementOf(image).dataEngine,
  }
}

async function looks(front: Front, image: Image): Promise<Preflight[]> {
  const { config, signer } = front
  const { format } = image
  const isUnsigned = signer.path(ingestId(image.name, image.uuid), fileName(image)) === undefined
  const { publicUrl } = config
  return preflight(
    {
      ...image,
      ...placementOf(image),
      format: format === '' ? 'raw' : format,
      nameInLonghorn: await nameInLonghorn(front, image),
    },
    { isUnsigned, ...(publicUrl !== undefined && { publicUrl }) },
  )
}

async function renditionOf(
  c: Call,
  { store, signer, config }: Front,
  image: Image,
  look: Preflight | undefined,
): Promise<Rendition> {
  const { name, uuid } = image
  const isAligned = look?.rendition === 'aligned'
  const { image: found } = await store.openFile(name, uuid, isAligned)
  const path = signer.path(
    ingestId(name, uuid),
    isAligned ? alignedFileName(image) : fileName(image),
  )
  return {
    url: path === undefined ? null : `${baseUrl(c, config)}${path}`,
    size: found.size,
    sha512: found.currentChecksum,
  }
}

function unsigned(): ImageError {
  return new ImageError(
    'failed_precondition',
    'API_TOKEN is set, and URL_SIGNING_KEY is not: there is no permanent URL for a cluster to fetch from.',
  )
}

function assertNamespace(namespace: string): void {
  if (namespacePattern.test(namespace)) return
  throw new ImageError(
    'invalid_argument',
    `namespace is ${JSON.stringify(namespace.slice(0, 80))}; the name of a namespace is expected.`,
  )
}
