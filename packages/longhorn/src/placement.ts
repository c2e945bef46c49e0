// How many copies Longhorn is to keep of an image, where, and for which data engine: as its fields say, and
// where they are silent its labels.

import { type Image, ImageError } from '@backing-image/core'

export interface Placement {
  /** 0 leaves it to Longhorn. */
  minNumberOfCopies: number
  nodeSelector: string[]
  diskSelector: string[]
  dataEngine: 'v1' | 'v2'
}

const copiesMax = 1000
const tag = /^[A-Za-z0-9][\w./-]{0,62}$/

/**
 * The labels are `longhorn.minNumberOfCopies`, `longhorn.nodeSelector` and `longhorn.diskSelector` (tags
 * with commas between), and `longhorn.dataEngine`. Throws `failed_precondition` for one that is none.
 */
export function placementOf(
  image: Pick<
    Image,
    'labels' | 'minNumberOfCopies' | 'nodeSelector' | 'diskSelector' | 'dataEngine'
  >,
): Placement {
  const { minNumberOfCopies, nodeSelector, diskSelector, dataEngine, labels } = image
  return {
    minNumberOfCopies: minNumberOfCopies === 0 ? copiesIn(labels) : minNumberOfCopies,
    nodeSelector: nodeSelector.length === 0 ? tagsIn(labels, 'nodeSelector') : nodeSelector,
    diskSelector: diskSelector.length === 0 ? tagsIn(labels, 'diskSelector') : diskSelector,
    // A field that was not given says v1.
    dataEngine: dataEngine === 'v1' ? engineIn(labels) : dataEngine,
  }
}

type Labels = Record<string, string>

function copiesIn(labels: Labels): number {
  const text = labels['longhorn.minNumberOfCopies'] ?? '0'
  const count = Number(text)
  if (/^[0-9]{1,4}$/.test(text) && count <= copiesMax) return count
  throw wrong('minNumberOfCopies', text, `a number up to ${copiesMax}`)
}

function tagsIn(labels: Labels, which: 'nodeSelector' | 'diskSelector'): string[] {
  const text = labels[`longhorn.${which}`] ?? ''
  const tags = text.split(',').map((each) => each.trim())
  if (text === '') return []
  if (tags.every((each) => tag.test(each))) return tags
  throw wrong(which, text, 'tags with commas between')
}

function engineIn(labels: Labels): 'v1' | 'v2' {
  const text = labels['longhorn.dataEngine'] ?? 'v1'
  if (text === 'v1' || text === 'v2') return text
  throw wrong('dataEngine', text, 'v1 or v2')
}

function wrong(which: string, text: string, expected: string): ImageError {
  return new ImageError(
    'failed_precondition',
    `The label longhorn.${which} is ${JSON.stringify(text.slice(0, 80))}; ${expected} is expected.`,
  )
}
