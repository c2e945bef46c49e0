// host:port, as Longhorn writes addresses and Go takes them; and a range of ports.

import { isIPv6 } from 'node:net'
import { ImageError } from '@backing-image/core'

export interface Address {
  /** Empty: every address of this machine. IPv6 stands without brackets. */
  host: string
  port: number
}

/** Both ends are in it. */
export interface PortRange {
  first: number
  last: number
}

/** `host:port`, `[v6]:port` or `:port`. Throws `invalid_argument`. */
export function parseAddress(text: string): Address {
  const parts = /^(?:\[([0-9A-Fa-f:.%]+)\]|([A-Za-z0-9_.-]*)|([0-9A-Fa-f:.]+)):([0-9]{1,5})$/.exec(
    text,
  )
  const host = parts?.[1] ?? parts?.[2] ?? parts?.[3] ?? ''
  const port = Number(parts?.[4])
  if (parts && port <= portMax) return { host, port }
  throw new ImageError(
    'invalid_argument',
    `${JSON.stringify(text.slice(0, 120))} is no address: [host]:port is expected, such as :8000.`,
  )
}

/** `host:port`, with brackets around IPv6. */
export function formatAddress({ host, port }: Address): string {
  return `${isIPv6(host) ? `[${host}]` : host}:${port}`
}

/** `first-last`. Throws `invalid_argument`. */
export function parsePortRange(text: string): PortRange {
  const parts = /^\s*([0-9]{1,5})\s*-\s*([0-9]{1,5})\s*$/.exec(text)
  const range = { first: Number(parts?.[1]), last: Number(parts?.[2]) }
  if (range.first >= 1 && range.first <= range.last && range.last <= portMax) return range
  throw new ImageError(
    'invalid_argument',
    `${JSON.stringify(text.slice(0, 120))} is no range of ports: such as 30001-31000 is expected.`,
  )
}

const portMax = 65_535
