// StorageClasses that name a backing image, checked as Longhorn's CSI plugin does when it makes a volume
// (contract §8.6), and before: every disagreement is named, not only the first.

import { z } from 'zod'

/** What one field should be, and is. */
export interface Problem {
  /** The path to it, such as `parameters.backingImageChecksum`. */
  field: string
  expected: string
  actual: string
  /** A sentence that says what to do. */
  message: string
}

/** What a StorageClass says of its backing image. */
export interface ClassImage {
  backingImage: string
  sourceType: string
  /** Undefined where none are given. */
  parameters: Record<string, string> | undefined
  checksum: string
  /** 0 leaves it to Longhorn. */
  minNumberOfCopies: number
  nodeSelector: string[]
  diskSelector: string[]
  dataEngine: 'v1' | 'v2'
}

/** The image of that name, as Longhorn or this store has it. */
export interface ExistingImage {
  sourceType: string
  parameters: Record<string, unknown>
  expectedChecksum: string
  currentChecksum: string
  dataEngine: string
}

export interface Checked {
  /** Absent where the StorageClass names no backing image, or can not be read. */
  image?: ClassImage
  problems: Problem[]
}

export const provisioner = 'driver.longhorn.io'

/** What each source type needs, of those that a volume can have a missing image made by. */
const needed: Record<string, readonly string[]> = {
  download: ['url'],
  'export-from-volume': ['volume-name', 'export-type'],
}
const exportTypes = ['raw', 'qcow2']

const form = z.looseObject({
  apiVersion: z.literal('storage.k8s.io/v1'),
  kind: z.literal('StorageClass'),
  metadata: z.looseObject({ name: z.string().min(1) }),
  provisioner: z.string(),
  parameters: z.record(z.string(), z.string()).nullish(),
})

/**
 * Checks a StorageClass, as plain values. `existing` is the image that it names; undefined: there is
 * none, and it would have to be made.
 */
export function checkStorageClass(value: unknown, existing?: ExistingImage): Checked {
  const parsed = form.safeParse(value)
  if (!parsed.success)
    return { problems: parsed.error.issues.map((issue) => shapeProblem(issue, value)) }
  const { provisioner: given, parameters } = parsed.data
  const problems: Problem[] = []
  if (given !== provisioner) {
    problems.push({
      field: 'provisioner',
      expected: provisioner,
      actual: given,
      message: 'Another provisioner knows nothing of backing images.',
    })
  }
  const reader = new Reader(parameters ?? {}, problems)
  const image = reader.image()
  if (!image) return { problems }
  if (existing) compare(image, existing, problems)
  else assertMakeable(image, problems)
  return { image, problems }
}

/** What a StorageClass names, without a look at it. */
export function backingImageOf(value: unknown): string | undefined {
  const name = form.safeParse(value).data?.parameters?.['backingImage']
  return name === '' ? undefined : name
}

class Reader {
  readonly #given: Record<string, string>
  readonly #problems: Problem[]

  constructor(given: Record<string, string>, problems: Problem[]) {
    this.#given = given
    this.#problems = problems
  }

  image(): ClassImage | undefined {
    const backingImage = this.#text('backingImage')
    if (backingImage === '') {
      this.#problem('backingImage', 'the name of an image', 'Without it volumes begin empty.')
      return undefined
    }
    return {
      backingImage,
      sourceType: this.#text('backingImageDataSourceType'),
      parameters: this.#parameters(),
      checksum: this.#checksum(),
      minNumberOfCopies: this.#copies(),
      nodeSelector: listOf(this.#text('backingImageNodeSelector')),
      diskSelector: listOf(this.#text('backingImageDiskSelector')),
      dataEngine: this.#engine(),
    }
  }

  #text(key: string): string {
    return this.#given[key] ?? ''
  }

  #problem(key: string, expected: string, message: string): void {
    this.#problems.push({ field: `parameters.${key}`, expected, actual: this.#text(key), message })
  }

  #parameters(): Record<string, string> | undefined {
    const key = 'backingImageDataSourceParameters'
    const text = this.#text(key)
    if (text === '') return undefined
    const found = z.record(z.string(), z.string()).safeParse(jsonOf(text))
    if (found.success) return found.data
    this.#problem(
      key,
      'a JSON object of texts, such as {"url":"https://images.example.org/debian.qcow2"}',
      'Longhorn reads it as JSON; every value in it is a text in double quotes.',
    )
    return undefined
  }

  #checksum(): string {
    const key = 'backingImageChecksum'
    const text = this.#text(key).trim()
    if (text === '' || /^[a-f0-9]{128}$/.test(text)) return text
    this.#problem(
      key,
      '128 lower-case hex characters',
      'Longhorn knows SHA-512 alone, without a word before it.',
    )
    return ''
  }

  #copies(): number {
    const key = 'backingImageMinNumberOfCopies'
    const text = this.#text(key)
    if (text === '') return 0
    const count = Number(text)
    if (/^\d+$/.test(text) && count >= 1 && count <= 1000) return count
    this.#problem(
      key,
      'a number from 1 on',
      'With a negative one Longhorn says that it made the image, and does not.',
    )
    return 0
  }

  #engine(): 'v1' | 'v2' {
    const text = this.#text('dataEngine') || 'v1'
    if (text === 'v1' || text === 'v2') return text
    this.#problem('dataEngine', 'v1 or v2', 'Longhorn has two data engines.')
    return 'v1'
  }
}

/** Only these can be made by what a StorageClass says. */
function assertMakeable(
  { sourceType, parameters, backingImage }: ClassImage,
  problems: Problem[],
): void {
  const keys = needed[sourceType]
  if (!keys) {
    problems.push({
      field: 'parameters.backingImageDataSourceType',
      expected: Object.keys(needed).join(' or '),
      actual: sourceType,
      message:
        `There is no image ${backingImage} yet, and Longhorn makes a missing one by these types only. ` +
        'Make it first, or name one of them.',
    })
    return
  }
  for (const key of keys) {
    if (parameters?.[key]) continue
    problems.push({
      field: 'parameters.backingImageDataSourceParameters',
      expected: `an object with ${JSON.stringify(key)}`,
      actual: JSON.stringify(parameters ?? {}),
      message: `To make ${backingImage} by ${sourceType} it needs ${keys.join(' and ')}.`,
    })
  }
  const exportType = parameters?.['export-type']
  if (sourceType === 'export-from-volume' && exportType && !exportTypes.includes(exportType)) {
    problems.push({
      field: 'parameters.backingImageDataSourceParameters',
      expected: `"export-type" ${exportTypes.join(' or ')}`,
      actual: exportType,
      message: 'Longhorn exports in these two formats.',
    })
  }
}

/** What is given must agree with what there is; what is not given agrees with everything. */
function compare(image: ClassImage, existing: ExistingImage, problems: Problem[]): void {
  const { backingImage, sourceType, parameters, checksum, dataEngine } = image
  const differs = (field: string, expected: string, actual: string, what: string): void => {
    problems.push({
      field: `parameters.${field}`,
      expected,
      actual,
      message: `The image ${backingImage} is there with another ${what}; leave it out, or name that one.`,
    })
  }
  if (sourceType !== '' && sourceType !== existing.sourceType) {
    differs('backingImageDataSourceType', existing.sourceType, sourceType, 'source type')
  }
  if (parameters && textOf(parameters) !== textOf(existing.parameters)) {
    const field = 'backingImageDataSourceParameters'
    differs(field, textOf(existing.parameters), textOf(parameters), 'source')
  }
  const [other] = [existing.currentChecksum, existing.expectedChecksum].filter(
    (each) => checksum !== '' && each !== '' && each !== checksum,
  )
  if (other !== undefined) differs('backingImageChecksum', other, checksum, 'checksum')
  if (dataEngine !== existing.dataEngine) {
    differs('dataEngine', existing.dataEngine, dataEngine, 'data engine')
  }
}

/** The same for the same parameters, in whatever order they come. */
function textOf(parameters: Record<string, unknown>): string {
  const sorted = Object.entries(parameters).toSorted(([a], [b]) => (a < b ? -1 : 1))
  return JSON.stringify(Object.fromEntries(sorted))
}

function listOf(text: string): string[] {
  return text
    .split(',')
    .map((each) => each.trim())
    .filter((each) => each !== '')
}

function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

function shapeProblem({ path, message }: z.core.$ZodIssue, value: unknown): Problem {
  let found = value
  for (const key of path) found = (found as Record<PropertyKey, unknown> | undefined)?.[key]
  return {
    field: path.join('.') || 'the document',
    expected: message,
    actual: found === undefined ? '' : (JSON.stringify(found) ?? '').slice(0, 200),
    message: 'This is no StorageClass of storage.k8s.io/v1.',
  }
}
