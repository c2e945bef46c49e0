// Images as Longhorn knows them: what they are called there, and the copies that it has.

import { type Image, ImageError, type Published, isImageError } from '@backing-image/core'
import { dropCopies, firstOf, idOf, longhornNames, statusOf } from '@backing-image/longhorn'
import type { Hono } from 'hono'
import { z } from 'zod'
import { readText } from './body.ts'
import type { Call, Env } from './front.ts'
import { readName } from './images.ts'
import { invalid } from './problem.ts'
import { readQuery, readSelection } from './query.ts'
import type { Front } from './upload.ts'
import { baseUrl, viewOf } from './view.ts'

const cleanupBody = z.strictObject({ disks: z.array(z.string().min(1).max(253)).min(1).max(100) })

export function addCleanupRoute(app: Hono<Env>, front: Front): void {
  app.post('/v1/backing-images/:name/cleanup', async (c) => {
    const image = await imageOf(c, front)
    const { disks } = await readDisks(c, front)
    const { client, cluster, board } = front.longhorn
    if (!client || !cluster) throw notConfigured()
    const own = cluster.report().cluster
    const registeredAs = board.of(image)[own]?.name ?? ''
    const registration =
      registeredAs === '' ? undefined : await front.store.clusters.registration(own, registeredAs)
    if (!registration) throw unknown(image)
    const left = statusOf(registration, await dropCopies(client, registration, disks))
    cluster.look()
    front.log.info(
      { requestId: c.get('requestId'), name: image.name, registeredAs, disks },
      'copies dropped in Longhorn',
    )
    const view = viewOf(image, baseUrl(c, front.config), front)
    return c.json({ ...view, longhorn: { ...view.longhorn, [own]: left } })
  })
}

async function imageOf(c: Call, { store }: Front): Promise<Image> {
  const query = readQuery(c, 'version')
  return await store.get(readName(c), { ...readSelection(query), state: 'ready' })
}

async function readDisks(c: Call, { config }: Front): Promise<{ disks: string[] }> {
  let value: unknown
  try {
    value = JSON.parse(await readText(c, config.idleTimeoutMs))
  } catch (error) {
    if (isImageError(error)) throw error
    throw invalid('The body is no JSON; {"disks":["<UUID>", …]} is expected.')
  }
  const body = cleanupBody.safeParse(value)
  if (!body.success) {
    throw invalid('{"disks":["<UUID>", …]} is expected as body: the disks whose copies are to go.')
  }
  return body.data
}

type Known = Pick<Front, 'store' | 'longhorn' | 'config'>

/** What an image is called in Longhorn, or will be when it is registered. */
export async function nameInLonghorn(known: Known, image: Image): Promise<string> {
  const all = firstOf(await known.store.published())
  const found = all.find((each) => idOf(each.image) === idOf(image))
  return nameOf(known, found ?? { image, sequence: 1 })
}

/** The image that Longhorn calls so, or will; undefined where there is none. */
export async function imageNamed(known: Known, name: string): Promise<Image | undefined> {
  const all = firstOf(await known.store.published())
  return all.find((each) => nameOf(known, each) === name)?.image
}

function nameOf({ longhorn, config }: Known, { image, sequence }: Published): string {
  const own = config.longhorn?.cluster
  const registered = own === undefined ? undefined : longhorn.board.of(image)[own]?.name
  if (registered) return registered
  const [best = image.name] = longhornNames(image.name, image.version, sequence === 1)
  return best
}

function unknown({ name, version }: Image): ImageError {
  return new ImageError(
    'failed_precondition',
    `${name} ${version} was not registered in Longhorn from here.`,
  )
}

export function notConfigured(): ImageError {
  return new ImageError(
    'failed_precondition',
    'LONGHORN_API_URL is not set: this server knows no Longhorn. It is like ' +
      'http://longhorn-backend.longhorn-system:9500.',
  )
}
