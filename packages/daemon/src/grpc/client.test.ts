// Calls to others: what is on the wire of an export, who is asked, and how calls end.

import {
  Server,
  ServerCredentials,
  type ServerUnaryCall,
  type sendUnaryData,
  status,
} from '@grpc/grpc-js'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { startDaemonHere } from '../testing/daemon.ts'
import { DaemonClient, exportVolume } from './client.ts'
import type { VolumeExportRequest } from './messages.ts'
import { ownAddress } from './own-address.ts'
import { syncAgentService } from './proto.ts'
import { RpcError } from './rpc-error.ts'

const client = suite('client')
type Export = (request: VolumeExportRequest, done: sendUnaryData<object>) => void
let answer: Export
let address: string
const replica = new Server()

client.before(async () => {
  replica.addService(syncAgentService, {
    VolumeExport: (
      { request }: ServerUnaryCall<VolumeExportRequest, object>,
      done: sendUnaryData<object>,
    ) => answer(request, done),
  })
  address = await new Promise<string>((resolve, reject) => {
    const credentials = ServerCredentials.createInsecure()
    replica.bindAsync('127.0.0.1:0', credentials, (error, port) =>
      error ? reject(error) : resolve(`127.0.0.1:${port}`),
    )
  })
})
client.after(() => replica.forceShutdown())

const request: VolumeExportRequest = {
  snapshot_file_name: 'volume-snap-1.img',
  host: '10.42.0.7',
  port: 8002,
  export_backing_image_if_exist: true,
  file_sync_http_client_timeout: 30,
}

client('an export has the numbers of contract §4.4 on the wire', async () => {
  let asked: VolumeExportRequest | undefined
  answer = (given, done) => {
    asked = given
    done(null, {})
  }
  await exportVolume(address, request)
  assert.equal(asked, request)
  const bytes = syncAgentService['VolumeExport']?.requestSerialize(request)
  const text = 'volume-snap-1.img'
  const expected = Buffer.concat([
    Buffer.from([1 * 8 + 2, text.length]),
    Buffer.from(text),
    Buffer.from([2 * 8 + 2, 9]),
    Buffer.from('10.42.0.7'),
    Buffer.from([3 * 8, 0xc2, 0x3e, 4 * 8, 1, 5 * 8, 30]),
  ])
  assert.equal(bytes, expected)
})

client('a refusal keeps its status and words; who gives up ends the call', async () => {
  answer = (_, done) => done({ code: status.UNKNOWN, details: 'no such snapshot' })
  const refused: unknown = await exportVolume(address, request).catch((error: unknown) => error)
  assert.instance(refused, RpcError)
  assert.is((refused as RpcError).code, status.UNKNOWN)
  assert.is((refused as RpcError).message, 'no such snapshot')
  const stop = new AbortController()
  // It never answers.
  answer = () => stop.abort()
  const given: unknown = await exportVolume(address, request, stop.signal).catch(
    (error: unknown) => error,
  )
  assert.instance(given, RpcError)
  assert.is((given as RpcError).code, status.CANCELLED)
})

client(
  'no proxy of the environment is between; a failure before is no reason to wait',
  async () => {
    const before = process.env['grpc_proxy']
    process.env['grpc_proxy'] = 'http://127.0.0.1:1'
    try {
      const daemon = await startDaemonHere()
      assert.is((await daemon.client.version()).version, '1.2.3')
      await daemon.server.close()
      const { port } = daemon.server.address
      const gone: unknown = await daemon.client.version().catch((error: unknown) => error)
      assert.is(gone instanceof RpcError && gone.code, status.UNAVAILABLE)
      const again = await startDaemonHere({ listen: { host: '127.0.0.1', port } })
      assert.is((await new DaemonClient(again.address).version()).version, '1.2.3')
      await again.server.close()
    } finally {
      if (before === undefined) delete process.env['grpc_proxy']
      else process.env['grpc_proxy'] = before
    }
  },
)

client('a server listens at every address without a host; a port in use is told', async () => {
  const daemon = await startDaemonHere({ listen: { host: '', port: 0 } })
  const { port } = daemon.server.address
  assert.is((await new DaemonClient(`127.0.0.1:${port}`).version()).version, '1.2.3')
  const taken: unknown = await startDaemonHere({ listen: { host: '', port } }).catch(
    (error: unknown) => error,
  )
  assert.match(String(taken), /gRPC can not listen at \S+: .*EADDRINUSE.* See --listen/)
  await daemon.server.close()
})

client('the own address is what others reach', () => {
  assert.is(ownAddress('10.42.0.7'), '10.42.0.7')
  assert.throws(() => ownAddress(''), /POD_IP/)
})

client.run()
