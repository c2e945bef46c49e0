// Images described by a document, JSON or YAML: in our own form, or as a whole BackingImage manifest of
// Longhorn.

import { type Parameters, assertName, assertVersion, parseChecksum } from '@backing-image/core'
import { parseAllDocuments, visit } from 'yaml'
import { z } from 'zod'
import { assertFlatJson, assertFlatYaml } from './depth.ts'
import { invalid } from './problem.ts'
import { labelOf, labelsOf } from './upload-options.ts'

const yamlTypes = ['application/yaml', 'application/x-yaml', 'text/yaml']

export function isDocument(type: string): boolean {
  return type === 'application/json' || type.endsWith('+json') || yamlTypes.includes(type)
}

/** What both forms of document say. */
export interface Request {
  name: string
  version?: string
  sourceType: string
  parameters: Parameters
  checksum?: string
  labels: Record<string, string>
  dataEngine: 'v1' | 'v2'
  minNumberOfCopies: number
  nodeSelector: string[]
  diskSelector: string[]
}

/** One document as plain values. */
export function parseDocument(text: string, type: string): unknown {
  if (!yamlTypes.includes(type)) {
    assertFlatJson(text)
    try {
      return JSON.parse(text)
    } catch (error) {
      throw invalid(`The body is no JSON: ${(error as Error).message}.`)
    }
  }
  assertFlatYaml(text)
  const documents = parseAllDocuments(text, { merge: false, logLevel: 'silent' })
  const [document] = documents
  if (!Array.isArray(documents) || document === undefined || documents.length !== 1) {
    throw invalid('The body must hold one YAML document, neither none nor several.')
  }
  const [fault] = document.errors
  if (fault) throw invalid(`The body is no YAML: ${fault.message.split('\n')[0]}`)
  // An alias may stand for copies of copies: 1 MiB of body for more than there is memory.
  visit(document, {
    Alias: () => {
      throw invalid('The body has a YAML alias (*); write the value out instead.')
    },
  })
  return document.toJS({ maxAliasCount: 0 })
}

const text = z.string()
const texts = z.array(text).max(100)
const textMap = z.record(text, text)
/** z.record leaves out `__proto__` without a word. */
const honestMap = z
  .unknown()
  .refine((map) => !Object.hasOwn(map ?? {}, '__proto__'), '"__proto__" is no key here')
const parameters = honestMap.pipe(
  z.record(text, z.union([text, z.strictObject({ secretRef: text })])),
)
const dataEngine = z.enum(['v1', 'v2']).default('v1')
const minNumberOfCopies = z.int().min(0).max(1000).default(0)

const plainForm = z.strictObject({
  name: text,
  version: text.optional(),
  sourceType: text,
  parameters: parameters.default({}),
  checksum: text.optional(),
  labels: textMap.default({}),
  dataEngine,
  minNumberOfCopies,
  nodeSelector: texts.default([]),
  diskSelector: texts.default([]),
})

const manifestForm = z.strictObject({
  apiVersion: z.literal('longhorn.io/v1beta2'),
  kind: z.literal('BackingImage'),
  metadata: z.looseObject({
    name: text,
    labels: textMap.nullish(),
    annotations: textMap.nullish(),
  }),
  spec: z.strictObject({
    sourceType: text,
    sourceParameters: honestMap.pipe(textMap.nullish()).optional(),
    checksum: text.nullish(),
    dataEngine,
    minNumberOfCopies,
    nodeSelector: texts.nullish(),
    diskSelector: texts.nullish(),
    // Longhorn's own: which of its disks hold copies, and what they are encrypted with.
    diskFileSpecMap: z.record(text, z.unknown()).nullish(),
    disks: z.record(text, z.unknown()).nullish(),
    secret: text.nullish(),
    secretNamespace: text.nullish(),
  }),
  status: z.unknown().optional(),
})

/** Checks a document of either form. */
export function readRequest(value: unknown): Request {
  const isManifest = typeof value === 'object' && value !== null && 'apiVersion' in value
  const request = isManifest ? readManifest(value) : readPlain(value)
  assertName(request.name)
  if (request.version !== undefined) assertVersion(request.version)
  if (request.checksum !== undefined) parseChecksum(request.checksum)
  return { ...request, parameters: withCredential(request.parameters) }
}

/** Where only texts are possible, as in a manifest or on a command line, it is the secret's name. */
function withCredential(given: Parameters): Parameters {
  const { credential } = given
  return typeof credential === 'string'
    ? { ...given, credential: { secretRef: credential } }
    : given
}

function readPlain(value: unknown): Request {
  const { version, checksum, ...others } = parsed(plainForm, value)
  return {
    ...others,
    labels: labelsIn(value),
    ...(version === undefined ? {} : { version }),
    ...(checksum === undefined ? {} : { checksum }),
  }
}

function readManifest(value: unknown): Request {
  const { metadata, spec } = parsed(manifestForm, value)
  return {
    name: metadata.name,
    sourceType: spec.sourceType,
    parameters: spec.sourceParameters ?? {},
    labels: labelsIn((value as { metadata: unknown }).metadata),
    dataEngine: spec.dataEngine,
    minNumberOfCopies: spec.minNumberOfCopies,
    nodeSelector: spec.nodeSelector ?? [],
    diskSelector: spec.diskSelector ?? [],
    // Longhorn writes an empty one where there is none.
    ...(spec.checksum ? { checksum: spec.checksum } : {}),
  }
}

/** As they were given, for the form has lost `__proto__`. */
function labelsIn(holder: unknown): Record<string, string> {
  const { labels } = holder as { labels?: Record<string, string> | null }
  return labelsOf(Object.entries(labels ?? {}).map(([key, value]) => labelOf(key, value)))
}

/** The value in the form's shape; throws with every fault, each with the path to it. */
function parsed<T>(form: z.ZodType<T>, value: unknown): T {
  const result = form.safeParse(value)
  if (result.success) return result.data
  const faults = result.error.issues
    .slice(0, 10)
    .map(({ path, message }) => `${path.length > 0 ? path.join('.') : 'the body'}: ${message}`)
  throw invalid(`The document is not as expected. ${faults.join('; ')}.`)
}
