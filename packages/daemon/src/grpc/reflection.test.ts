// What a client without our .proto files is told of them, over both versions of the protocol.

import { once } from 'node:events'
import { createRequire } from 'node:module'
import { Client, type ServiceDefinition, credentials } from '@grpc/grpc-js'
import { type MessageTypeDefinition, loadSync } from '@grpc/proto-loader'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { formatAddress } from '../address.ts'
import type { RunningGrpc } from './server.ts'
import { startDaemonHere } from '../testing/daemon.ts'

const reflection = suite('reflection')
let server: RunningGrpc
let address: string

reflection.before(async () => {
  server = (await startDaemonHere()).server
  address = formatAddress(server.address)
})
reflection.after(() => server.close())

interface Answer {
  list_services_response?: { service: { name: string }[] }
  file_descriptor_response?: { file_descriptor_proto: Buffer[] }
  error_response?: { error_code: number }
}

async function ask(version: 'v1' | 'v1alpha', question: object): Promise<Answer> {
  const main = createRequire(import.meta.url).resolve('@grpc/reflection')
  const file = new URL(`../proto/grpc/reflection/${version}/reflection.proto`, `file://${main}`)
  const name = `grpc.reflection.${version}.ServerReflection`
  const service = loadSync(file.pathname, { keepCase: true })[name] as ServiceDefinition
  const method = service['ServerReflectionInfo']
  assert.ok(method)
  const client = new Client(address, credentials.createInsecure())
  const stream = client.makeBidiStreamRequest(
    method.path,
    method.requestSerialize,
    method.responseDeserialize,
    { deadline: Date.now() + 5000 },
  )
  stream.write(question)
  const [answer]: Answer[] = await once(stream, 'data')
  stream.end()
  client.close()
  return answer ?? {}
}

for (const version of ['v1', 'v1alpha'] as const) {
  reflection(`${version} lists the service, and has its file under Longhorn's name`, async () => {
    const listed = await ask(version, { list_services: '*' })
    const names = listed.list_services_response?.service.map(({ name }) => name)
    assert.ok(names?.includes('bimrpc.BackingImageManagerService'))
    const answer = await ask(version, { file_by_filename: 'bimrpc/bimrpc.proto' })
    const codec = loadSync('google/protobuf/descriptor.proto', {})[
      'google.protobuf.FileDescriptorProto'
    ] as MessageTypeDefinition<object, Descriptor>
    const files = answer.file_descriptor_response?.file_descriptor_proto.map(codec.deserialize)
    const [file, empty] = files ?? []
    assert.is(file?.name, 'bimrpc/bimrpc.proto')
    assert.equal(file?.dependency, ['google/protobuf/empty.proto'])
    assert.is(empty?.name, 'google/protobuf/empty.proto')
    const list = file?.messageType.find(({ name }) => name === 'ListResponse')
    assert.equal(
      list?.nestedType?.map(({ name }) => name),
      ['BackingImagesEntry'],
    )
    assert.is(list?.field?.[0]?.typeName, 'BackingImagesEntry')
  })
}

reflection('a method leads to its file; what is not there is an answer, too', async () => {
  const found = await ask('v1', {
    file_containing_symbol: 'bimrpc.BackingImageManagerService.Watch',
  })
  assert.is(found.file_descriptor_response?.file_descriptor_proto.length, 2)
  const absent = await ask('v1', { file_by_filename: 'no.proto' })
  assert.is(absent.error_response?.error_code, 5)
})

interface Descriptor {
  name: string
  dependency?: string[]
  messageType: {
    name: string
    nestedType?: { name: string }[]
    field?: { typeName?: string }[]
  }[]
}

reflection.run()
