// What each consumer would make of an image, said before it has fetched all of it and failed: Longhorn
// with either data engine (contract §3.5, §7), KubeVirt's CDI, and plain QEMU.

import { type ImageFormat, sectorBytes } from '@backing-image/core'

export const consumers = ['longhorn-v1', 'longhorn-v2', 'cdi', 'qemu'] as const

export type Consumer = (typeof consumers)[number]

/** What is known of an image that is ready. */
export interface PreflightImage {
  name: string
  version: string
  size: number
  virtualSize: number
  format: ImageFormat
  dataEngine: 'v1' | 'v2'
  /** What Longhorn calls it, or will. */
  nameInLonghorn: string
}

/** How others reach its bytes. */
export interface Reach {
  /** PUBLIC_URL. */
  publicUrl?: string
  /** Tokens are set, but no URL_SIGNING_KEY: there are no permanent URLs. */
  isUnsigned: boolean
}

export interface Preflight {
  consumer: Consumer
  fits: boolean
  /** Why it does not fit, and what to do. */
  problems: string[]
  /** What will be otherwise than one might think. */
  notes: string[]
  /** Of the rendition that it is to fetch. */
  rendition: 'stored' | 'aligned'
}

export function preflight(image: PreflightImage, reach: Reach): Preflight[] {
  return consumers.map((consumer) => {
    const { problems, notes = [], rendition = 'stored' } = looks[consumer](image, reach)
    return { consumer, fits: problems.length === 0, problems, notes, rendition }
  })
}

interface Look {
  problems: string[]
  notes?: string[]
  rendition?: 'stored' | 'aligned'
}

const looks: Record<Consumer, (image: PreflightImage, reach: Reach) => Look> = {
  'longhorn-v1': (image, reach) => {
    const problems = unreachable(reach, 'Longhorn')
    if (image.dataEngine === 'v2') {
      problems.push(
        'It is meant for the v2 data engine (dataEngine): a volume of v1 can not use it.',
      )
    }
    const notes: string[] = []
    const { nameInLonghorn: name } = image
    if (name !== image.name) notes.push(`In Longhorn it goes by the name ${name}.`)
    const rest = image.size % sectorBytes
    if (rest === 0) return { problems, notes }
    notes.push(
      `Longhorn takes whole sectors of ${sectorBytes} bytes, and ${image.size} is none: it gets the ` +
        `rendition with ${sectorBytes - rest} zeros at the end, which has a SHA-512 of its own.`,
    )
    return { problems, notes, rendition: 'aligned' }
  },

  'longhorn-v2': () => ({
    problems: [
      'Longhorn 1.12 and later have no backing images for the v2 data engine: fill the volume by a ' +
        'DataVolume of CDI (the manifest of that kind).',
    ],
  }),

  cdi: (image, reach) => ({
    problems: unreachable(reach, 'CDI'),
    notes:
      image.format === 'qcow2'
        ? [`CDI unpacks it into a volume of at least ${image.virtualSize} bytes.`]
        : [],
  }),

  qemu: ({ format }) => ({
    problems: [],
    notes: [
      `Name its format, -f ${format === 'qcow2' ? 'qcow2' : 'raw'}: QEMU guesses it otherwise from what ` +
        'a guest can write.',
    ],
  }),
}

const loopback = /^(localhost|.*\.localhost|127\.[0-9.]+|0\.0\.0\.0|\[::1\]|\[::\])$/

/** Who fetches by the permanent URL must have one, and come to this server by it. */
export function unreachable({ publicUrl, isUnsigned }: Reach, who: string): string[] {
  const problems: string[] = []
  if (publicUrl === undefined) {
    problems.push(
      `PUBLIC_URL is not set: without it ${who} can not be given a URL that it reaches.`,
    )
  } else if (loopback.test(new URL(publicUrl).hostname)) {
    problems.push(`PUBLIC_URL is ${publicUrl}, which for ${who} is ${who} itself: it is refused.`)
  }
  if (isUnsigned) {
    problems.push(
      `API_TOKEN is set, and URL_SIGNING_KEY is not: without it there is no URL for ${who}, which has ` +
        'no credentials.',
    )
  }
  return problems
}
