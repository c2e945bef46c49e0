// What a command prints: a table for people, JSON or YAML for programs. The JSON has Longhorn's shape,
// so that what reads the output of Longhorn's own tool reads ours.

import type { Parameters } from '@backing-image/core'
import { Option } from 'commander'
import Table from 'cli-table3'
import { stringify } from 'yaml'
import { formatSize } from '../quantity.ts'
import type { ImageView } from '../view.ts'
import type { Terminal } from './terminal.ts'

const forms = ['table', 'json', 'yaml'] as const

export type Form = (typeof forms)[number]

export function outputOption(): Option {
  return new Option('-o, --output <form>', 'default: table on a terminal, else json').choices(forms)
}

/** Longhorn's record of a backing image, with its field names. */
export interface LonghornImage {
  name: string
  uuid: string
  size: number
  virtualSize: number
  realSize: number
  expectedChecksum: string
  status: {
    state: string
    currentChecksum: string
    sendingReference: number
    errorMsg: string
    senderManagerAddress: string
    progress: number
  }
}

export function toLonghorn(image: ImageView): LonghornImage {
  const { name, uuid, size, virtualSize, realSize, expectedChecksum } = image
  return {
    name,
    uuid,
    size,
    virtualSize,
    realSize,
    expectedChecksum,
    status: {
      state: image.state,
      currentChecksum: image.currentChecksum,
      sendingReference: 0,
      errorMsg: image.message,
      senderManagerAddress: '',
      progress: image.progress,
    },
  }
}

/** All that is known of one image: Longhorn's fields and ours. */
export function whole(image: ImageView): LonghornImage & ImageView {
  return { ...toLonghorn(image), ...image }
}

/** Prints `value`, or the lines of the table. */
export function print(
  terminal: Terminal,
  form: Form | undefined,
  { value, table }: { value: unknown; table: () => string },
): void {
  const chosen = form ?? (terminal.stdout.isTTY === true ? 'table' : 'json')
  // Longhorn indents with tabs.
  const text =
    chosen === 'table'
      ? `${table().replaceAll(/ +$/gm, '')}\n`
      : chosen === 'json'
        ? `${JSON.stringify(value, null, '\t')}\n`
        : stringify(value)
  terminal.stdout.write(text)
}

export function printImage(terminal: Terminal, form: Form | undefined, image: ImageView): void {
  print(terminal, form, { value: whole(image), table: () => imageTable(image) })
}

/** A row an image. */
export function imagesTable(images: readonly ImageView[]): string {
  const table = plainTable(['NAME', 'VERSION', 'UUID', 'STATE', 'FORMAT', 'SIZE', 'UPDATED'])
  for (const image of images) {
    const { name, version, uuid, format, size, updatedAt } = image
    table.push([name, version, uuid, stateOf(image), format, formatSize(size), updatedAt])
  }
  return table.toString()
}

/** A row a field, without those that are empty. */
function imageTable(image: ImageView): string {
  const rows: [string, string][] = [
    ['Name', image.name],
    ['Version', image.version],
    ['UUID', image.uuid],
    ['State', stateOf(image)],
    ['Message', image.message],
    ['Format', image.format],
    ['Size', `${formatSize(image.size)} (${image.size} bytes)`],
    ['Virtual size', `${formatSize(image.virtualSize)} (${image.virtualSize} bytes)`],
    ['Real size', `${formatSize(image.realSize)} (${image.realSize} bytes)`],
    ['SHA-512', image.checksums.sha512],
    ['SHA-256', image.checksums.sha256],
    ['Packed', packedText(image)],
    ['Labels', pairs(image.labels)],
    ['Source', `${image.sourceType} ${pairs(image.parameters)}`.trim()],
    ['Rollback of', image.rollbackOf ?? ''],
    ['Created', image.createdAt],
    ['Updated', image.updatedAt],
    ['Download', image.links.download],
    ['File', image.links.file ?? ''],
    ...Object.entries(image.longhorn ?? {}).map(longhornRow),
    ...image.warnings.map((warning): [string, string] => ['Warning', warning]),
  ]
  const table = plainTable()
  table.push(...rows.filter(([, value]) => value !== ''))
  return table.toString()
}

/** What a cluster makes of it; one word a disk, for there may be many. */
function longhornRow([cluster, known]: [string, ImageView['longhorn'][string]]): [string, string] {
  const { name, state, message, disks } = known
  const copies = Object.values(disks).map((disk) => disk.state)
  const told = [name, state, message, copies.length > 0 ? `(${copies.join(', ')})` : '']
  return [`In ${cluster}`, told.filter((each) => each !== '').join(' ')]
}

/** What arrived, when that was unpacked on the way. */
function packedText({ packed }: ImageView): string {
  if (!packed) return ''
  const { compression, size, checksums } = packed
  return `${compression}, ${size} bytes, SHA-256 ${checksums.sha256}`
}

export function stateOf({ state, progress }: ImageView): string {
  return state === 'in-progress' ? `${state} ${progress}%` : state
}

function pairs(record: Parameters): string {
  return Object.entries(record)
    .map(([key, value]) => `${key}=${typeof value === 'string' ? value : value.secretRef}`)
    .join(' ')
}

/** Without lines and colours: what is printed can be cut, searched and pasted. */
export function plainTable(head: string[] = []): Table.Table {
  const edges = ['top', 'top-mid', 'top-left', 'top-right', 'bottom', 'bottom-mid', 'bottom-left']
  const lines = ['bottom-right', 'left', 'left-mid', 'mid', 'mid-mid', 'right', 'right-mid']
  return new Table({
    head,
    chars: { ...Object.fromEntries([...edges, ...lines].map((each) => [each, ''])), middle: '  ' },
    style: { head: [], border: [], 'padding-left': 0, 'padding-right': 0 },
  })
}
