// The front door of the daemon: re-exports, nothing else.

export { startDaemon } from './daemon.ts'
export { startDataSource } from './data-source-server.ts'
export type { FileInfo, FileState } from './file-info.ts'
export type { ImageFiles, Launch } from './image-files.ts'
export type { Log } from './log.ts'
export * from './options.ts'
export type { BackupOrder, BackupStatus } from './backup/backup.ts'
export type { ImageBackups } from './grpc/backups.ts'
export { type AskedSpec, DaemonClient, exportVolume } from './grpc/client.ts'
export type { ImageKey, ImageResponse } from './grpc/messages.ts'
export { RpcError, rpcCodeName } from './grpc/rpc-error.ts'
export { type GrpcOptions, type RunningGrpc, startGrpc } from './grpc/server.ts'
