// The labels of an image: what may be one, and which stay when two sides give some; and what both say of
// its copies.

import type { Copies } from './pull/source.ts'

export const labelsMax = 64

const labelKey = /^[A-Za-z0-9][A-Za-z0-9._/-]{0,252}$/
const labelValue = /^[^\p{Cc}]{0,253}$/u

export function isLabel(key: string, value: string): boolean {
  return labelKey.test(key) && labelValue.test(value)
}

/** Those of the client, and of the source's as many others as there may be. */
export function joinLabels(
  own: Record<string, string>,
  others: Record<string, string>,
): Record<string, string> {
  const more = Object.entries(others).filter(([key]) => !Object.hasOwn(own, key))
  const room = Math.max(0, labelsMax - Object.keys(own).length)
  return { ...Object.fromEntries(more.slice(0, room)), ...own }
}

/** What the client says, and the source's where it says nothing. */
export function joinCopies(own: Copies, others: Copies | undefined): Copies {
  const { minNumberOfCopies, nodeSelector, diskSelector } = own
  return {
    minNumberOfCopies: minNumberOfCopies || (others?.minNumberOfCopies ?? 0),
    nodeSelector: nodeSelector.length > 0 ? nodeSelector : (others?.nodeSelector ?? []),
    diskSelector: diskSelector.length > 0 ? diskSelector : (others?.diskSelector ?? []),
  }
}
