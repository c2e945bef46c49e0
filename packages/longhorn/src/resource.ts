// A backing image as the Longhorn API tells of it (contract §7). It is bytes from outside: what is not
// as it should be is refused, what is missing or unknown is passed over.

import { z } from 'zod'

/** One copy, on one disk. */
export interface DiskFile {
  /** Longhorn's own word, such as `ready`, `in-progress`, `failed`, `unknown`. */
  state: string
  /** 0 to 100. */
  progress: number
  message: string
}

export interface LonghornImage {
  name: string
  uuid: string
  sourceType: string
  parameters: Record<string, string>
  /** SHA-512 as hex, or empty. */
  expectedChecksum: string
  currentChecksum: string
  size: number
  virtualSize: number
  minNumberOfCopies: number
  nodeSelector: string[]
  diskSelector: string[]
  dataEngine: string
  /** By the UUID of the disk. */
  disks: Record<string, DiskFile>
  /** When its deletion was asked for; empty as long as it was not. */
  deletedAt: string
}

const text = z
  .string()
  .nullish()
  .transform((value) => value ?? '')
const count = z
  .number()
  .nullish()
  .transform((value) => value ?? 0)
const texts = z
  .array(z.string())
  .nullish()
  .transform((value) => value ?? [])

const diskFile = z.object({ state: text, progress: count, message: text })

const resource = z
  .object({
    name: z.string().min(1),
    uuid: text,
    sourceType: text,
    parameters: z
      .record(z.string(), z.string())
      .nullish()
      .transform((value) => value ?? {}),
    expectedChecksum: text,
    currentChecksum: text,
    // Some releases give sizes as texts.
    size: z.union([z.number(), z.string().transform(Number)]).nullish(),
    virtualSize: z.union([z.number(), z.string().transform(Number)]).nullish(),
    minNumberOfCopies: count,
    nodeSelector: texts,
    diskSelector: texts,
    dataEngine: text,
    diskFileStatusMap: z
      .record(z.string(), diskFile)
      .nullish()
      .transform((value) => value ?? {}),
    deletionTimestamp: text,
  })
  .transform(
    ({ size, virtualSize, diskFileStatusMap: disks, deletionTimestamp: deletedAt, ...same }) =>
      ({
        ...same,
        size: size ?? 0,
        virtualSize: virtualSize ?? 0,
        disks,
        deletedAt,
      }) satisfies LonghornImage,
  )

const collection = z.object({ data: z.array(resource) })
const failure = z.object({ message: z.string() })

/** Undefined for what is no backing image. */
export function parseImage(value: unknown): LonghornImage | undefined {
  return resource.safeParse(value).data
}

/** Undefined for what is no collection of them. */
export function parseImages(value: unknown): LonghornImage[] | undefined {
  return collection.safeParse(value).data?.data
}

/** What Longhorn says of a failure; undefined for what is none of its errors. */
export function parseFailure(value: unknown): string | undefined {
  return failure.safeParse(value).data?.message
}

/** The whole, of which Longhorn itself only tells disk by disk. */
export type OverallState = 'pending' | 'in-progress' | 'ready' | 'failed' | 'deleting' | 'unknown'

/** One copy that is ready can be used; all of them failed is a failure. */
export function overallState({ disks, deletedAt }: LonghornImage): OverallState {
  if (deletedAt !== '') return 'deleting'
  const states = Object.values(disks).map(({ state }) => state)
  if (states.includes('ready')) return 'ready'
  if (states.length === 0) return 'pending'
  if (states.every((state) => state.startsWith('failed'))) return 'failed'
  if (states.some((state) => ['starting', 'in-progress', 'ready-for-transfer'].includes(state))) {
    return 'in-progress'
  }
  return states.includes('unknown') ? 'unknown' : 'pending'
}
