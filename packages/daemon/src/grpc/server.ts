// The gRPC server of a daemon: plaintext, as Longhorn's is, with reflection (contract §1.1).

import { networkInterfaces } from 'node:os'
import type { Writable } from 'node:stream'
import { setTimeout as delay } from 'node:timers/promises'
import { Server, ServerCredentials, type UntypedServiceImplementation, status } from '@grpc/grpc-js'
import type { sendUnaryData } from '@grpc/grpc-js'
import { ImageError, asError } from '@backing-image/core'
import { type Address, formatAddress } from '../address.ts'
import type { Log } from '../log.ts'
import { managerService } from './proto.ts'
import { addReflection } from './reflection.ts'
import { statusOf } from './rpc-error.ts'
import { Service, type ServiceOptions } from './service.ts'
import { Watch } from './watch.ts'

export interface GrpcOptions extends ServiceOptions {
  listen: Address
  /** Between two messages of Watch; 3 s unless a test is in a hurry. */
  watchIntervalMs?: number
}

export interface RunningGrpc {
  /** Where it listens; the port is the real one also when 0 was asked for. */
  address: Address
  /** Ends watches and waits for what is being answered, for a moment. */
  close(): Promise<void>
}

const serverOptions = {
  'grpc.enable_channelz': 0,
  'grpc.max_concurrent_streams': 1000,
  // Who watches says nothing: only so a node that has died is noticed.
  'grpc.keepalive_time_ms': 60_000,
  'grpc.keepalive_timeout_ms': 20_000,
}

const closeTimeMs = 2000
/** Whatever was asked: a name may have megabytes. */
const loggedLengthMax = 1000

/** Rejects with `unavailable` when it can not listen there. */
export async function startGrpc(options: GrpcOptions): Promise<RunningGrpc> {
  const { listen, files, log, watchIntervalMs } = options
  const service = new Service(options)
  const watch = new Watch({
    list: () => files.list(),
    log,
    ...(watchIntervalMs === undefined ? {} : { intervalMs: watchIntervalMs }),
  })
  const server = new Server(serverOptions)
  server.addService(managerService, handlersOf(service, watch, log))
  addReflection(server)
  const port = await bind(server, listen)
  return {
    address: { host: listen.host, port },
    close: async () => {
      watch.close()
      // What asks a disk that hangs is left behind.
      const left = delay(closeTimeMs, undefined, { ref: false })
      await Promise.all([Promise.race([service.close(), left]), shutDown(server)])
    },
  }
}

function handlersOf(service: Service, watch: Watch, log: Log): UntypedServiceImplementation {
  const unary = <Q, R>(method: string, answer: (request: Q) => Promise<R> | R) => {
    return ({ request }: { request: Q }, done: sendUnaryData<unknown>): void => {
      void Promise.resolve(request)
        .then(answer)
        .then(
          (response) => done(null, response ?? {}),
          (error: unknown) => {
            const refused = statusOf(error)
            // Who asks for what is not there looks for it: nothing is wrong.
            if (refused.code !== status.NOT_FOUND) {
              const message = asError(error).message.slice(0, loggedLengthMax)
              log.warn({ method, code: refused.code, message }, 'a request was refused')
            }
            done(refused)
          },
        )
    }
  }
  return {
    Delete: unary('Delete', service.delete.bind(service)),
    Get: unary('Get', service.get.bind(service)),
    List: unary('List', service.list.bind(service)),
    VersionGet: unary('VersionGet', service.versionGet.bind(service)),
    Sync: unary('Sync', service.sync.bind(service)),
    Send: unary('Send', service.send.bind(service)),
    Fetch: unary('Fetch', service.fetch.bind(service)),
    PrepareDownload: unary('PrepareDownload', service.prepareDownload.bind(service)),
    BackupCreate: unary('BackupCreate', service.backupCreate.bind(service)),
    BackupStatus: unary('BackupStatus', service.backupStatus.bind(service)),
    Watch: (stream: Writable) => {
      try {
        watch.add(stream)
      } catch (error) {
        stream.emit('error', statusOf(error))
      }
    },
  }
}

function bind(server: Server, listen: Address): Promise<number> {
  const host = listen.host || everyAddress()
  return new Promise((resolve, reject) => {
    const done = (error: Error | null, port: number) => {
      if (!error) return resolve(port)
      server.forceShutdown()
      const where = formatAddress({ ...listen, host })
      const text = `gRPC can not listen at ${where}: ${error.message}. See --listen.`
      reject(new ImageError('unavailable', text, { cause: error }))
    }
    server.bindAsync(formatAddress({ ...listen, host }), ServerCredentials.createInsecure(), done)
  })
}

/** The IPv6 one takes IPv4 as well, where the machine has IPv6 at all. */
function everyAddress(): string {
  const addresses = Object.values(networkInterfaces()).flat()
  return addresses.some((each) => each?.family === 'IPv6') ? '::' : '0.0.0.0'
}

async function shutDown(server: Server): Promise<void> {
  await new Promise<void>((resolve) => {
    const force = setTimeout(() => {
      server.forceShutdown()
      resolve()
    }, closeTimeMs)
    server.tryShutdown(() => {
      clearTimeout(force)
      resolve()
    })
  })
}
