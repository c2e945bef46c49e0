// Where a server may be sent by a URL that a client gave: not to itself, not to the metadata of its
// cloud, and not where the operator forbids. Names are judged as they are and as what they resolve to.

import { isIP } from 'node:net'
import {
  type Network,
  contains,
  formatAddress,
  meanings,
  network,
  parseAddress,
  parseNetwork,
} from './address.ts'
import { ImageError } from '../errors.ts'

/** One entry of DOWNLOAD_ALLOW or DOWNLOAD_DENY. */
export type AddressRule =
  | { kind: 'networks'; text: string; networks: Network[] }
  | { kind: 'name'; text: string; pattern: RegExp; weight: number }

/** What `parseRule` takes, for messages. */
export const ruleForm = 'an address, a CIDR such as 10.0.0.0/8, a host such as *.example.org, or *'

const nameLengthMax = 253
const hostName = /^[a-z0-9_-]+(\.[a-z0-9_-]+)*$/
/** Ends in a label with a letter: what does not would be an address to somebody. */
const nameRule = /^([a-z0-9_*-]+\.)*(?!0x[0-9a-f]*$)[0-9_*-]*[a-z][a-z0-9_*-]*$/

/** Undefined when the text is no address, CIDR, host name with or without `*`, and not `*`. */
export function parseRule(text: string): AddressRule | undefined {
  if (text === '*') {
    return { kind: 'networks', text, networks: [network('0.0.0.0/0'), network('::/0')] }
  }
  const parsed = parseNetwork(text)
  if (parsed) return { kind: 'networks', text, networks: [parsed] }
  const name = withoutDot(text.toLowerCase())
  if (name.length > nameLengthMax || !nameRule.test(name)) return undefined
  const pattern = new RegExp(`^${name.replaceAll('.', '\\.').replace(/\*+/g, '.*')}$`)
  // A name without "*" is more specific than every one with it.
  const weight = name.replaceAll('*', '').length + (name.includes('*') ? 0 : nameLengthMax)
  return { kind: 'name', text, pattern, weight }
}

function withoutDot(host: string): string {
  return host.replace(/\.$/, '')
}

/**
 * What is refused where no rule of the operator's says anything: of IANA's special-purpose registries
 * what is not for one's own network (RFC 1918, RFC 6598, RFC 4193) and not reachable by all.
 */
const refusedNetworks: [what: string, ...networks: string[]][] = [
  ['loopback', '127.0.0.0/8', '::1'],
  ['cloud metadata', '169.254.169.254', 'fd00:ec2::254', 'fd20:ce::254'],
  ['cloud metadata', '100.100.100.200', '168.63.129.16', '192.0.0.192'],
  ['link-local', '169.254.0.0/16', 'fe80::/10'],
  ['multicast', '224.0.0.0/4', 'ff00::/8'],
  ['unspecified', '0.0.0.0/8', '::'],
  ['broadcast', '255.255.255.255'],
  // For protocols, and the relays of 6to4, which is no more.
  ['reserved', '240.0.0.0/4', '192.0.0.0/24', '192.88.99.0/24', 'fec0::/10', '5f00::/16'],
  // For documentation, for benchmarks, for what is to be dropped.
  ['reserved', '192.0.2.0/24', '198.51.100.0/24', '203.0.113.0/24', '2001:db8::/32', '3fff::/20'],
  ['reserved', '198.18.0.0/15', '2001:2::/48', '2001:10::/28', '100::/64', '100:0:0:1::/64'],
]

const refused = refusedNetworks.flatMap(([what, ...texts]) =>
  texts.map((text) => ({ text: `${what} ${text}`, network: network(text) })),
)

/** Names that mean a refused address wherever they are looked up. */
const refusedName = /^(.*\.)?localhost$|^metadata\.(google\.internal|goog)$/

interface Verdict {
  isAllowed: boolean
  /** The text of the rule that decided. */
  rule: string
  weight: number
}

export class AddressRules {
  readonly #rules: (AddressRule & { isAllowed: boolean })[]

  /** Throws `invalid_argument` naming an entry that is no rule. */
  constructor(options: { allow?: readonly string[]; deny?: readonly string[] } = {}) {
    const parse = (isAllowed: boolean) => (text: string) => {
      const rule = parseRule(text)
      if (rule) return { ...rule, isAllowed }
      const quoted = JSON.stringify(text.slice(0, 100))
      throw new ImageError('invalid_argument', `The rule ${quoted} is not ${ruleForm}.`)
    }
    this.#rules = [
      ...(options.allow ?? []).map(parse(true)),
      ...(options.deny ?? []).map(parse(false)),
    ]
  }

  /**
   * Throws `invalid_argument` for what can be told before the name is resolved: another scheme than
   * http and https, a user or password, a forbidden name, a forbidden literal address.
   */
  assertUrl(url: URL): void {
    if (url.protocol !== 'http:' && url.protocol !== 'https:') {
      const found = url.protocol.slice(0, 40)
      throw new ImageError(
        'invalid_argument',
        `The URL begins with ${found}, only http: and https: are fetched.`,
      )
    }
    if (url.username !== '' || url.password !== '') {
      throw new ImageError(
        'invalid_argument',
        'The URL holds a user or a password, which would show up in logs and records. Take them ' +
          'out and name a secret of the server: credential: {"secretRef": "NAME"}.',
      )
    }
    const host = hostOf(url)
    if (isIP(host) > 0) return this.assertAddress(host, host)
    const name = withoutDot(host)
    if (name.length > nameLengthMax || !hostName.test(name)) {
      const found = JSON.stringify(host.slice(0, nameLengthMax))
      throw new ImageError('invalid_argument', `The URL's host ${found} is no host name.`)
    }
    const verdict = this.#judgeName(host)
    if (verdict && !verdict.isAllowed) throw denied(`the host ${host}`, verdict.rule)
  }

  /** Throws `invalid_argument` unless `address`, to which `host` has been resolved, may be used. */
  assertAddress(host: string, address: string): void {
    if (isIP(host) === 0 && this.#judgeName(host)?.isAllowed) return
    const parsed = parseAddress(address)
    if (!parsed) throw new ImageError('internal', `${host} resolves to what is no address.`)
    for (const meaning of meanings(parsed)) {
      const inner = formatAddress(meaning)
      const is = meaning === parsed ? '' : `, which is ${inner}`
      const what = host === address ? `the address ${address}${is}` : `${host} at ${address}${is}`
      const verdict = this.#judge(meaning)
      if (verdict && !verdict.isAllowed) throw denied(what, verdict.rule)
      const usual = verdict ? undefined : refused.find((each) => contains(each.network, meaning))
      if (usual) throw refusal(what, usual.text, inner)
    }
  }

  /**
   * As assertAddress, for a name that only a proxy can resolve: its addresses will never be known
   * here.
   */
  assertUnresolved(host: string): void {
    if (this.#judgeName(host)?.isAllowed) return
    const name = withoutDot(host)
    if (refusedName.test(name)) throw refusal(`the host ${host}`, 'a name of the host itself', name)
    const everything = this.#rules.find(
      (rule) =>
        rule.kind === 'networks' && !rule.isAllowed && rule.networks.some((n) => n.prefix === 0),
    )
    if (everything) throw denied(`the host ${host}`, everything.text)
  }

  #judgeName(host: string): Verdict | undefined {
    const name = withoutDot(host)
    return heaviest(
      this.#rules.flatMap((rule) =>
        rule.kind === 'name' && rule.pattern.test(name) ? [{ ...rule, rule: rule.text }] : [],
      ),
    )
  }

  #judge(address: Parameters<typeof contains>[1]): Verdict | undefined {
    return heaviest(
      this.#rules.flatMap((rule) =>
        rule.kind === 'networks'
          ? rule.networks
              .filter((each) => contains(each, address))
              .map((each) => ({ ...rule, rule: rule.text, weight: each.prefix }))
          : [],
      ),
    )
  }
}

/** The most specific decides; of two equally specific ones the denial. */
function heaviest(verdicts: Verdict[]): Verdict | undefined {
  return verdicts.reduce<Verdict | undefined>((best, each) => {
    if (!best || each.weight > best.weight) return each
    return each.weight === best.weight && !each.isAllowed ? each : best
  }, undefined)
}

/** The host of a URL as it is resolved: an IPv6 address without brackets. */
export function hostOf(url: URL): string {
  return url.hostname.replace(/^\[(.*)\]$/, '$1')
}

function denied(what: string, rule: string): ImageError {
  return new ImageError(
    'invalid_argument',
    `Nothing is fetched from ${what}: DOWNLOAD_DENY forbids it with ${rule}.`,
  )
}

function refusal(what: string, rule: string, allow: string): ImageError {
  return new ImageError(
    'invalid_argument',
    `Nothing is fetched from ${what}: it is refused by default (${rule}). ` +
      `Where it is meant, the operator allows it with DOWNLOAD_ALLOW=${allow}.`,
  )
}
