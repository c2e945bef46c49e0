// The file service of a disk over HTTP: what Longhorn, its data sources and its second engine ask for
// (contract §2.3 to §2.6).

import { readObject } from '@backing-image/backend-local'
import { ImageError, isImageError } from '@backing-image/core'
import { readChunkPart } from './chunk-part.ts'
import type { Disk } from './disk.ts'
import { gzip } from './gzip.ts'
import { type App, type Call, createHttpApp, readValues, sendStream, tell } from './http.ts'
import type { Launch } from './image-files.ts'
import { nameOf } from './paths.ts'

type Launcher = (c: Call, disk: Disk) => Promise<void>

const integerForm = /^[+-]?\d{1,16}$/

/** The routes; every answer that refuses is a line of text. */
export function createSyncApp(files: Disk): App {
  const app = createHttpApp()
  app.get('/v1/files', async (c) => {
    const list = await files.list()
    return c.json(Object.fromEntries(list.map((info) => [info.filePath, info])))
  })
  app.post('/v1/files', async (c) => {
    const launch = launchers.get(c.req.query('action') ?? '')
    if (!launch) return c.notFound()
    await launch(c, files)
    return c.body('', 200)
  })
  app.get('/v1/files/:id', async (c) => {
    const path = pathOf(c)
    if (path === undefined) return tell(c, 400, 'invalid URL escape')
    try {
      return c.json(await files.get(path))
    } catch (error) {
      if (isImageError(error, 'not_found')) return tell(c, 404, error.message)
      throw error
    }
  })
  app.delete('/v1/files/:id', async (c) => {
    const path = pathOf(c)
    if (path === undefined) return tell(c, 400, 'invalid URL escape')
    await files.remove(path)
    return c.body('', 200)
  })
  app.post('/v1/files/:id', async (c) => {
    const path = pathOf(c)
    if (path === undefined) return tell(c, 400, 'invalid URL escape')
    const action = c.req.query('action')
    if (action === 'forget') await files.forget(path)
    else if (action === 'sendToPeer') await files.send(path, wanted(c, 'to-address'))
    else return c.notFound()
    return c.body('', 200)
  })
  // GET answers HEAD too.
  app.get('/v1/files/:id/download', async (c) => await download(c, files))
  return app
}

/** Go's url.QueryUnescape: a plus is a blank. Undefined for what is no escape. */
function pathOf(c: Call): string | undefined {
  const [, encoded = ''] = /\/v1\/files\/([^/?#]*)/.exec(c.req.url) ?? []
  try {
    return decodeURIComponent(encoded.replaceAll('+', ' '))
  } catch {
    return undefined
  }
}

function wanted(c: Call, key: string): string {
  const value = c.req.query(key) ?? ''
  if (value !== '') return value
  throw new ImageError('invalid_argument', `no ${key} is given`)
}

function integer(c: Call, key: string): number {
  const text = c.req.query(key) ?? ''
  if (integerForm.test(text) && Number.isSafeInteger(Number(text))) return Number(text)
  throw new ImageError(
    'invalid_argument',
    `${key} is ${JSON.stringify(text.slice(0, 80))}: a number is expected`,
  )
}

/** `size` is taken where the action has one. */
function launchOf(c: Call, pathKey: string, hasSize: boolean): Launch {
  return {
    path: wanted(c, pathKey),
    uuid: wanted(c, 'uuid'),
    diskUuid: c.req.query('disk-uuid') ?? '',
    expectedChecksum: c.req.query('expected-checksum') ?? '',
    size: hasSize ? integer(c, 'size') : 0,
    dataEngine: c.req.query('data-engine') ?? '',
  }
}

const launchers = new Map<string, Launcher>(
  Object.entries<Launcher>({
    fetch: async (c, disk) => {
      const source = wanted(c, 'src-file-path')
      wanted(c, 'disk-uuid')
      await disk.fetch(launchOf(c, 'dst-file-path', true), source)
    },
    upload: async (c, disk) => {
      const { incoming } = c.env
      await disk.upload(launchOf(c, 'file-path', true), async (file) =>
        readChunkPart(incoming, file.signal),
      )
    },
    downloadFromURL: async (c, disk) => {
      disk.download(launchOf(c, 'file-path', false), wanted(c, 'url'))
    },
    receiveFromPeer: async (c, disk) => {
      const port = integer(c, 'port')
      const fileType = c.req.query('file-type') ?? ''
      await disk.receive(launchOf(c, 'file-path', true), { port, fileType })
    },
    restoreFromBackupURL: async (c, disk) => {
      const launch = launchOf(c, 'file-path', false)
      const url = wanted(c, 'backup-url')
      const concurrentLimit = integer(c, 'concurrent-limit')
      disk.restore(launch, { url, concurrentLimit, credential: await readValues(c) })
    },
    cloneFromBackingImage: async (c, disk) => {
      const launch = launchOf(c, 'file-path', false)
      disk.clone(launch, {
        name: wanted(c, 'backing-image'),
        uuid: wanted(c, 'backing-image-uuid'),
        encryption: wanted(c, 'encryption'),
        credential: await readValues(c),
      })
    },
  }),
)

/** Contract §2.5: gzip as a file, or for Longhorn's second engine the bytes as they are. */
async function download(c: Call, files: Disk): Promise<Response> {
  const path = pathOf(c)
  if (path === undefined) return tell(c, 400, 'invalid URL escape')
  const file = files.find(path)
  file.assertReady('the download')
  const { disk } = files.place
  const isPlain = c.req.query('forV2Creation') === 'true'
  const title = nameOf(path, file.uuid)
    .split('-')[0]
    ?.replaceAll(/[^\w.]/g, '_')
  const headers: Record<string, string> = {
    'Content-Type': 'application/octet-stream',
    ...(isPlain
      ? { 'Content-Length': String((await disk.lstat(path)).size) }
      : { 'Content-Disposition': `attachment; filename=${title}.gz` }),
  }
  if (c.req.method === 'HEAD') return c.body(null, 200, headers)
  return await sendStream(c, headers, async (signal) => {
    const bytes = await readObject(disk, path, path, { lend: true, signal })
    return isPlain ? bytes : gzip(bytes)
  })
}
