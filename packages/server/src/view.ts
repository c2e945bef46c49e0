// An image as it leaves: with the links that only the front knows, since it alone knows its address.

import type { Socket } from 'node:net'
import type { TLSSocket } from 'node:tls'
import type { Image, ImageStatus } from '@backing-image/core'
import { ingestId } from '@backing-image/core'
import type { StatusBoard } from '@backing-image/longhorn'
import type { Config } from './config.ts'
import type { Call } from './front.ts'
import type { FileSigner } from './signature.ts'

export interface Links {
  /** Always this ingest, whatever the name comes to mean. */
  self: string
  download: string
  /** Permanent, and without credentials; null until ready, and where tokens lack a signing key. */
  file: string | null
}

export type ImageView = Image & {
  links: Links
  /** What the clusters that share this store make of it, by cluster. */
  longhorn: Record<string, ImageStatus>
}

/** What a view is made with. */
export interface Viewing {
  signer: FileSigner
  longhorn: { board: Pick<StatusBoard, 'of'> }
}

export function viewOf(image: Image, base: string, { signer, longhorn }: Viewing): ImageView {
  const { name, version, uuid, state } = image
  const path = `${base}/v1/backing-images/${name}`
  // A rollback shares its uuid with the version that it points at.
  const also = image.rollbackOf === undefined ? '' : `&version=${version}`
  const file = state === 'ready' ? signer.path(ingestId(name, uuid), fileName(image)) : undefined
  return {
    ...image,
    links: {
      self: `${path}?uuid=${uuid}${also}`,
      download: `${path}/download?version=${version}`,
      file: file === undefined ? null : `${base}${file}`,
    },
    longhorn: longhorn.board.of(image),
  }
}

/** `<name>-<version>.<img|qcow2|iso>`: every character may stand in a path and in a quoted string. */
export function fileName(image: Pick<Image, 'name' | 'version' | 'format'>): string {
  const extension = image.format === 'qcow2' || image.format === 'iso' ? image.format : 'img'
  return `${image.name}-${image.version}.${extension}`
}

/** No name and no version has the sign, so that this is never the file of another one. */
const alignedMark = '~aligned.'

/** What the aligned rendition is called: zeros are added, up to whole sectors. */
export function alignedFileName(image: Pick<Image, 'name' | 'version' | 'format'>): string {
  return fileName(image).replace(/\.([^.]*)$/, `${alignedMark}$1`)
}

export function isAligned(filename: string): boolean {
  return filename.includes(alignedMark)
}

/** `PUBLIC_URL`, else what the client called us by; a proxy's word counts only where it is trusted. */
export function baseUrl(c: Call, config: Pick<Config, 'publicUrl' | 'trustProxy'>): string {
  if (config.publicUrl !== undefined) return config.publicUrl.replace(/\/+$/, '')
  const { protocol, host } = new URL(c.req.url)
  // An absolute target names a scheme of its own; the connection knows better.
  const scheme = isEncrypted(c.env.incoming.socket) ? 'https' : protocol.slice(0, -1)
  if (!config.trustProxy) return `${scheme}://${host}`
  const [forwardedScheme] = listOf(c.req.header('x-forwarded-proto'))
  const [forwardedHost] = listOf(c.req.header('x-forwarded-host'))
  const goodScheme = /^https?$/.test(forwardedScheme ?? '') ? forwardedScheme : scheme
  const goodHost = /^[A-Za-z0-9._:[\]-]+$/.test(forwardedHost ?? '') ? forwardedHost : host
  return `${goodScheme}://${goodHost}`
}

export function isEncrypted(socket: Socket | null): boolean {
  return (socket as Partial<TLSSocket> | null)?.encrypted === true
}

/** The first of several is what the first proxy saw. */
function listOf(header: string | undefined): string[] {
  return (header ?? '').split(',').map((each) => each.trim())
}
