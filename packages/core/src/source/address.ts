// IP addresses and networks as numbers, and the IPv4 addresses that stand inside IPv6 ones: a
// gateway or the kernel would go there.

import { isIP, isIPv4 } from 'node:net'

export interface Address {
  version: 4 | 6
  bits: bigint
}

/** All addresses whose first `prefix` bits are those of `bits`. */
export interface Network extends Address {
  prefix: number
}

const widths = { 4: 32, 6: 128 } as const
const word = 0xffff_ffffn

/** Reads the one usual spelling of IPv4 and all of IPv6, with or without brackets and a zone. */
export function parseAddress(text: string): Address | undefined {
  const bare = text.replace(/^\[(.*)\]$/, '$1').replace(/%.*$/, '')
  if (isIPv4(bare)) return { version: 4, bits: numberOf(bare.split('.').map(Number), 8) }
  if (isIP(bare) === 0) return undefined
  // The URL parser leaves one spelling, in which only "::" is left to be filled.
  const [head = '', tail] = new URL(`http://[${bare}]`).hostname.slice(1, -1).split('::')
  const [before, after] = [head, tail ?? ''].map(groupsOf) as [number[], number[]]
  const middle = Array<number>(8 - before.length - after.length).fill(0)
  return { version: 6, bits: numberOf([...before, ...middle, ...after], 16) }
}

function groupsOf(text: string): number[] {
  return text === '' ? [] : text.split(':').map((group) => Number.parseInt(group, 16))
}

function numberOf(digits: number[], width: number): bigint {
  return digits.reduce((bits, digit) => (bits << BigInt(width)) | BigInt(digit), 0n)
}

/** `10.0.0.0/8`, `fd00::/8`, or an address alone, which is a network of one. */
export function parseNetwork(text: string): Network | undefined {
  const [, host = '', length] = /^([^/]*)(?:\/(0|[1-9][0-9]{0,2}))?$/.exec(text) ?? []
  const address = host.includes('%') ? undefined : parseAddress(host)
  if (!address) return undefined
  const width = widths[address.version]
  const prefix = length === undefined ? width : Number(length)
  if (prefix > width) return undefined
  // What is mapped is IPv4 to every kernel, however it is written.
  if (address.version === 6 && prefix >= 96 && isMapped(address)) {
    return { version: 4, bits: address.bits & word, prefix: prefix - 96 }
  }
  return { ...address, prefix }
}

/** A network that is known to be written well. */
export function network(text: string): Network {
  const parsed = parseNetwork(text)
  if (!parsed) throw new TypeError(`${text} is no network.`)
  return parsed
}

export function contains(outer: Network, { version, bits }: Address): boolean {
  const rest = BigInt(widths[outer.version] - outer.prefix)
  return outer.version === version && outer.bits >> rest === bits >> rest
}

function isMapped(address: Address): boolean {
  return address.bits >> 32n === 0xffffn
}

const compatible = network('::/96')
/** RFC 2765 §2.1: an IPv4 host as a translator shows it. */
const shownTranslated = network('::ffff:0:0:0/96')
const translated = network('64:ff9b::/96')
const translatedHere = network('64:ff9b:1::/48')
const sixToFour = network('2002::/16')
const teredo = network('2001::/32')

/** The address and every IPv4 address that it may lead to. */
export function meanings(address: Address): Address[] {
  if (address.version === 4) return [address]
  return [address, ...embedded(address).map((bits) => ({ version: 4 as const, bits }))]
}

function embedded(address: Address): bigint[] {
  const { bits } = address
  const last = bits & word
  // "::" and "::1" are themselves.
  if (contains(compatible, address)) return bits > 1n ? [last] : []
  if (isMapped(address)) return [last]
  if ([shownTranslated, translated].some((each) => contains(each, address))) return [last]
  if (contains(sixToFour, address)) return [(bits >> 80n) & word]
  // The client's is inverted (RFC 4380 §4); the server's is beside it.
  if (contains(teredo, address)) return [last ^ word, (bits >> 64n) & word]
  // RFC 8215 leaves the length of the prefix open; RFC 6052 §2.2 keeps bits 64 to 71 free.
  if (contains(translatedHere, address)) {
    const split = (prefix: bigint) => {
      const joined = ((bits >> 64n) << 56n) | (bits & ((1n << 56n) - 1n))
      return (joined >> (120n - 32n - prefix)) & word
    }
    // Below 2^24 it is the padding of another length.
    return [last, ...[48n, 56n, 64n].map(split)].filter((each) => each >> 24n !== 0n)
  }
  return []
}

/** In the usual spelling. */
export function formatAddress({ version, bits }: Address): string {
  if (version === 4) return [24n, 16n, 8n, 0n].map((shift) => (bits >> shift) & 255n).join('.')
  const groups = bits.toString(16).padStart(32, '0').match(/.{4}/g) ?? []
  return new URL(`http://[${groups.join(':')}]`).hostname.slice(1, -1)
}
