// The program `data-source`: one source, and what Longhorn asks of it over HTTP (contract §2.2).

import { readChunkPart } from './chunk-part.ts'
import { DataSource } from './data-source.ts'
import type { Disk } from './disk.ts'
import { type App, type Call, createHttpApp, startHttp, tell } from './http.ts'
import { serveDisk } from './open-disk.ts'
import type { DataSourceOptions, Running } from './options.ts'
import { requestExport } from './request-export.ts'

/** Resolves when the work has begun and it listens; rejects where the parameters are no good. */
export async function startDataSource(options: DataSourceOptions): Promise<Running> {
  const { name, uuid, sourceType, parameters, checksum, credential, log, podIp } = options
  const { disk, diskUuid, close } = await serveDisk(options, '')
  let source: DataSource | undefined
  try {
    source = await DataSource.start({
      disk,
      log,
      diskUuid,
      name,
      uuid,
      sourceType,
      parameters,
      checksum,
      credential,
      requestExport: async (order) => await requestExport({ ...order, podIp }),
    })
    const listening = await startHttp(createSourceApp(source, disk), options.listen, log)
    log.info({ name, uuid, sourceType, port: listening.port }, 'the data source listens')
    return {
      close: async () => {
        source?.stop()
        await listening.close()
        await close()
      },
    }
  } catch (error) {
    source?.stop()
    await close()
    throw error
  }
}

/** The routes; exported for tests. */
export function createSourceApp(source: DataSource, disk: Disk): App {
  const app = createHttpApp()
  app.get('/v1/file', async (c) => c.json(await source.info()))
  app.post('/v1/file', async (c) => {
    const action = c.req.query('action')
    if (action === 'upload') return await upload(c, source, disk)
    if (action !== 'transfer') return c.notFound()
    await source.transfer()
    return c.body('', 200)
  })
  return app
}

async function upload(c: Call, source: DataSource, disk: Disk): Promise<Response> {
  if (!source.acceptsUpload) {
    const { sourceType } = source
    return tell(
      c,
      400,
      `cannot do upload since data source type is ${sourceType} rather than upload`,
    )
  }
  const text = c.req.query('size') ?? ''
  if (!/^\d{1,15}$/.test(text))
    return tell(c, 500, `size is ${JSON.stringify(text.slice(0, 80))}: a number is expected`)
  source.assertGoesOn()
  const { incoming } = c.env
  await disk.upload(source.launch(Number(text)), async (file) =>
    readChunkPart(incoming, file.signal),
  )
  return c.body('', 200)
}
