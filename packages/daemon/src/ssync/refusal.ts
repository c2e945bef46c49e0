// What a sender has done wrong, and may still put right: it is told so, and the transfer goes on.

import { ImageError } from '@backing-image/core'

export class Refusal extends ImageError {
  constructor(message: string) {
    super('invalid_argument', message)
  }
}
