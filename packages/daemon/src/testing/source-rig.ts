// A data source over a disk of its own, with its routes on a port of this machine, for tests.

import * as assert from 'uvu/assert'
import { DataSource, type DataSourceInfo, type DataSourceParts } from '../data-source.ts'
import { createSourceApp } from '../data-source-server.ts'
import { startHttp } from '../http.ts'
import { type Answer, type DiskRig, askOf, eventually, withDisk } from './disk-rig.ts'

export interface Running {
  source: DataSource
  ask: (method: string, query?: string, body?: RequestInit['body']) => Promise<Answer>
  /** Waits for one of these states. */
  until: (...states: string[]) => Promise<DataSourceInfo>
}

/** The parts of an upload source, but for `changes`. */
export async function partsOf(
  rig: DiskRig,
  changes: Partial<DataSourceParts>,
): Promise<DataSourceParts> {
  return {
    disk: rig.disk,
    log: rig.log,
    diskUuid: 'disk-1',
    name: 'debian-12',
    uuid: '0123abcd',
    sourceType: 'upload',
    parameters: {},
    checksum: '',
    credential: {},
    requestExport: async () => {},
    ...changes,
  }
}

/** Runs a claim with a source and its routes on a port of this machine. */
export function withSource(
  changes: Partial<DataSourceParts> | ((rig: DiskRig) => Promise<Partial<DataSourceParts>>),
  claim: (running: Running, rig: DiskRig) => Promise<void>,
): () => Promise<void> {
  return withDisk(async (rig) => {
    const given = typeof changes === 'function' ? await changes(rig) : changes
    const source = await DataSource.start(await partsOf(rig, given))
    const app = createSourceApp(source, rig.disk)
    const listening = await startHttp(app, { host: '127.0.0.1', port: 0 }, rig.log)
    const url = `http://127.0.0.1:${listening.port}/v1/file`
    const ask: Running['ask'] = async (method, query = '', body) =>
      await askOf(url + query, method, body)
    const until: Running['until'] = async (...states) => {
      let info: DataSourceInfo | undefined
      await eventually(states.join(), async () => {
        info = JSON.parse((await ask('GET')).text) as DataSourceInfo
        if (info.state === 'failed' && !states.includes('failed')) throw new Error(info.message)
        return states.includes(info.state)
      })
      assert.ok(info)
      return info
    }
    try {
      await claim({ source, ask, until }, rig)
    } finally {
      source.stop()
      await listening.close()
    }
  })
}

export function formOf(bytes: Uint8Array): FormData {
  const form = new FormData()
  form.append('chunk', new Blob([Uint8Array.from(bytes)]), 'blob')
  return form
}
