// POST of a StorageClass: the image that it names is there and agrees with it, or is made as it says; what
// Longhorn would say to a volume of that class is said here, and all of it.

import { type Image, ImageError, assertName } from '@backing-image/core'
import {
  type ExistingImage,
  type Problem,
  backingImageOf,
  checkStorageClass,
} from '@backing-image/longhorn'
import { asRegistered } from './consumers.ts'
import type { Call } from './front.ts'
import type { Request } from './manifest.ts'
import { invalid } from './problem.ts'
import { imageNamed } from './registered.ts'
import { type Front, mustBeNew } from './upload.ts'

export function isStorageClass(value: unknown): boolean {
  return typeof value === 'object' && value !== null && 'kind' in value
    ? value.kind === 'StorageClass'
    : false
}

/**
 * The image that a class names, ready or on its way, or what is to be asked for to make it. Throws with
 * every problem: `invalid_argument`, or `already_exists` where the image is there and another.
 */
export async function readStorageClass(
  c: Call,
  front: Front,
  value: unknown,
): Promise<{ image: Image } | { request: Request }> {
  const name = backingImageOf(value)
  const image = name === undefined ? undefined : await existing(front, name)
  if (!image) return { request: requestOf(value) }
  if (mustBeNew(c)) {
    throw new ImageError(
      'failed_precondition',
      `${image.name} exists, and the request was to create it only if it does not (If-None-Match: *).`,
    )
  }
  const forms = [asStored(image)]
  if (image.state === 'ready') forms.push(await asRegistered(c, front, image))
  // As it came here, or as a cluster has it that fetched it from here.
  const looks = forms.map((form) => checkStorageClass(value, form).problems)
  const [best = []] = looks.toSorted((a, b) => a.length - b.length)
  if (best.length === 0) return { image }
  throw new ImageError('already_exists', textOf(best))
}

async function existing(front: Front, name: string): Promise<Image | undefined> {
  const ready = await imageNamed(front, name)
  if (ready) return ready
  const inFlight = await front.store.inFlight()
  return inFlight.find((image) => image.name === name)
}

function asStored(image: Image): ExistingImage {
  const { sourceType, parameters, expectedChecksum, currentChecksum, dataEngine } = image
  return { sourceType, parameters, expectedChecksum, currentChecksum, dataEngine }
}

function requestOf(value: unknown): Request {
  const { image, problems } = checkStorageClass(value)
  if (!image || problems.length > 0) throw invalid(textOf(problems))
  const { backingImage: name, parameters = {}, checksum, ...others } = image
  assertName(name)
  return { ...others, name, parameters, labels: {}, ...(checksum !== '' && { checksum }) }
}

function textOf(problems: readonly Problem[]): string {
  const texts = problems.map(({ field, expected, actual, message }) => {
    const found = JSON.stringify(actual.slice(0, 200))
    return `${field}: ${message} Expected: ${expected}; found: ${found}.`
  })
  return `The StorageClass can not be used. ${texts.join(' ')}`
}
