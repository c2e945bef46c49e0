// Server reflection, v1 and v1alpha, with the descriptors that protoc makes of our file: who asks may
// be Go, which takes nothing else.

import type { Server } from '@grpc/grpc-js'
import {
  type AnyDefinition,
  type MessageTypeDefinition,
  type PackageDefinition,
  loadSync,
} from '@grpc/proto-loader'
import { ReflectionService } from '@grpc/reflection'
import { managerFile, managerPackage, managerServiceName } from './proto.ts'

/** What of google/protobuf/descriptor.proto is changed here. */
interface File {
  package: string
  messageType?: Message[]
}

interface Message {
  name: string
  field?: { name: string; typeName?: string }[]
  nestedType?: Message[]
}

export function addReflection(server: Server): void {
  new ReflectionService(reflected()).addToServer(server)
}

const emptyFile = 'google/protobuf/empty.proto'

/** proto-loader calls a file after its package, and tells no imports. */
const files: Record<string, { name: string; dependency: string[] }> = {
  bimrpc: { name: managerFile, dependency: [emptyFile] },
  'google.protobuf': { name: emptyFile, dependency: [] },
}

function reflected(): PackageDefinition {
  // Without defaults: an index of 0 would say something. The loader has this file itself.
  const descriptors = loadSync('google/protobuf/descriptor.proto', { keepCase: true })
  const codec = codecOf<File>(descriptors['google.protobuf.FileDescriptorProto'])
  const definition = codecOf<object>(managerPackage['bimrpc.GetRequest'])
  const fileDescriptorProtos = definition.fileDescriptorProtos.map((bytes) => {
    const file = codec.deserialize(bytes)
    const types = file.messageType?.map(withEntries)
    return codec.serialize({
      ...file,
      ...files[file.package],
      ...(types && { messageType: types }),
    })
  })
  return { [managerServiceName]: { ...definition, fileDescriptorProtos } }
}

function codecOf<T extends object>(
  definition: AnyDefinition | undefined,
): MessageTypeDefinition<T, T> {
  if (definition === undefined || !('fileDescriptorProtos' in definition)) {
    throw new Error('The .proto files have no such message.')
  }
  return definition as object as MessageTypeDefinition<T, T>
}

/** The type of a map's entries is called after its field: `BackingImagesEntry` of `backing_images`. */
function withEntries(message: Message): Message {
  const { field = [], nestedType: nested = [] } = message
  const nameOf = (entry: Message) => {
    const of = field.find((each) => each.typeName === entry.name)?.name ?? entry.name
    return `${of.replaceAll(/(?:^|_)([a-z])/g, (_, letter: string) => letter.toUpperCase())}Entry`
  }
  const names = new Map(nested.map((entry) => [entry.name, nameOf(entry)]))
  return {
    ...message,
    field: field.map((each) => {
      const name = names.get(each.typeName ?? '')
      return name === undefined ? each : { ...each, typeName: name }
    }),
    nestedType: nested.map((entry) => ({ ...entry, name: names.get(entry.name) ?? entry.name })),
  }
}
