// Which of the images of a store Longhorn is to know.

import type { Image, Published } from '@backing-image/core'

/** LONGHORN_REGISTER. */
export type RegisterMode = 'all' | 'labelled' | 'off'

/** The label that says more of a version: `keep`, `register` or `off`. */
export const registerLabel = 'longhorn'

/**
 * The newest version of each name, and older ones that are labelled `longhorn=keep`; none that is
 * labelled `longhorn=off`, and in the mode `labelled` only those with `register` or `keep`. What several
 * versions share is there once, as the first of them.
 */
export function wantedOf(published: readonly Published[], mode: RegisterMode): Published[] {
  if (mode === 'off') return []
  const newest = new Map<string, Published>()
  for (const each of published) {
    const other = newest.get(each.image.name)
    if (!other || isNewer(each, other)) newest.set(each.image.name, each)
  }
  const wanted = new Map<string, Published>()
  for (const each of published) {
    const { image } = each
    const word = image.labels[registerLabel]
    const isAsked = word === 'keep' || (newest.get(image.name) === each && word !== 'off')
    const isAllowed = mode === 'all' || word === 'keep' || word === 'register'
    const other = wanted.get(idOf(image))
    if (isAsked && isAllowed && !(other && isNewer(each, other))) wanted.set(idOf(image), each)
  }
  return [...wanted.values()]
}

/** Of each ingest the first version that has it, which is what its name in Longhorn goes by. */
export function firstOf(published: readonly Published[]): Published[] {
  const first = new Map<string, Published>()
  for (const each of published) {
    const other = first.get(idOf(each.image))
    if (!other || isNewer(other, each)) first.set(idOf(each.image), each)
  }
  return [...first.values()]
}

/** One ingest: versions that share it, as a rollback does, share its registration. */
export function idOf({ name, uuid }: Pick<Image, 'name' | 'uuid'>): string {
  return `${name}-${uuid}`
}

function isNewer(one: Published, other: Published): boolean {
  if (one.sequence !== other.sequence) return one.sequence > other.sequence
  return one.image.updatedAt > other.image.updatedAt
}
