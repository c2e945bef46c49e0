// What Longhorn calls the versions of an image.

import { cutName, isConsumerName } from '@backing-image/core'

/**
 * The names under which a version may be registered, the best one first: the image's own for its first
 * version, `<name>-<version>` in lower case for later ones; where Longhorn would change that, or it is
 * taken, the beginning of it and a part of the SHA-256 of name and version.
 */
export function longhornNames(name: string, version: string, isFirst: boolean): string[] {
  const plain = (isFirst ? name : `${name}-${version}`).toLowerCase()
  const cut = cutName(plain, name, version)
  return isConsumerName(plain) ? [plain, cut] : [cut]
}
