// Errors of the file system get their kind from their code alone.

import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { ImageError, isImageError, type Code, type Reason } from '@backing-image/core'
import { errnoOf, explained, nodeDisk, translate } from './disk.ts'
import { errnoError } from './testing/index.ts'

const disk = suite('local: errors of the disk')

const kinds: [errno: string, code: Code, reason: Reason][] = [
  ['ENOENT', 'not_found', 'not_found'],
  ['ENOTDIR', 'not_found', 'not_found'],
  ['ELOOP', 'not_found', 'not_found'],
  ['EEXIST', 'already_exists', 'already_exists'],
  ['EACCES', 'permission_denied', 'storage_unavailable'],
  ['EPERM', 'permission_denied', 'storage_unavailable'],
  ['EROFS', 'permission_denied', 'storage_unavailable'],
  ['ENOSPC', 'resource_exhausted', 'no_space'],
  ['EDQUOT', 'resource_exhausted', 'no_space'],
  ['EMFILE', 'resource_exhausted', 'storage_unavailable'],
  ['ENFILE', 'resource_exhausted', 'storage_unavailable'],
  ['ENOMEM', 'resource_exhausted', 'storage_unavailable'],
  ['EFBIG', 'invalid_argument', 'too_large'],
  ['ENAMETOOLONG', 'invalid_argument', 'invalid_request'],
  ['EXDEV', 'failed_precondition', 'precondition_failed'],
  ['EIO', 'unavailable', 'storage_unavailable'],
  ['ESTALE', 'unavailable', 'storage_unavailable'],
  ['ETIMEDOUT', 'unavailable', 'storage_unavailable'],
  ['ENEVERSEEN', 'unavailable', 'storage_unavailable'],
]

disk('every code has its kind, and the message names the code, the call and the path', () => {
  for (const [errno, code, reason] of kinds) {
    const cause = errnoError(errno)
    const error = translate(cause, 'open /some/path')
    assert.instance(error, ImageError)
    if (!(error instanceof ImageError)) return
    assert.equal([error.code, error.reason], [code, reason], errno)
    assert.is(error.cause, cause)
    assert.is(errnoOf(error), errno)
    assert.match(error.message, `open /some/path failed with ${errno}`)
  }
})

disk('a failure that Node.js has no name for has its kind all the same', () => {
  const unnamed = (errno: number): Error =>
    Object.assign(new Error(), { errno: -errno, code: `Unknown system error -${errno}` })
  assert.equal([122, 116, 521].map(unnamed).map(errnoOf), ['EDQUOT', 'ESTALE', 'E521'])
  assert.ok(isImageError(translate(unnamed(122), 'write'), 'resource_exhausted'))
})

disk('what is no failure of a call comes back untouched', () => {
  const others = [
    new Error('ENOENT: only in its message'),
    Object.assign(new Error('of Node'), { code: 'ERR_INVALID_ARG_TYPE' }),
    new ImageError('aborted', 'known already', { cause: errnoError('EIO') }),
    'a string',
    undefined,
  ]
  for (const other of others) assert.is(translate(other, 'open /x'), other)
})

disk('a real failure carries its kind', async () => {
  try {
    await explained(nodeDisk).lstat('/nowhere/at/all')
    assert.unreachable()
  } catch (error) {
    assert.ok(error instanceof ImageError && error.code === 'not_found')
  }
})

disk.run()
