// What every backend must do, as plain values: the sentences of backend.ts and their proofs, for
// any test framework. A backend passes all of `conformance`, without skips.

import assert from 'node:assert/strict'
import { type Backend } from '../backend.ts'
import { type Case, eventually } from './conformance/case.ts'
import { abortCases, chunkCases } from './conformance/chunks.ts'
import { deleteCases } from './conformance/delete.ts'
import { exclusiveCases } from './conformance/exclusive.ts'
import { getCases } from './conformance/get.ts'
import { listCases } from './conformance/list.ts'
import { putCases } from './conformance/put.ts'

export { type Case } from './conformance/case.ts'
export { resumableConformance } from './conformance/remains.ts'
export { unfinishedConformance } from './conformance/unfinished.ts'

/** The cases that every backend passes. */
export const conformance: Case[] = [
  ...putCases,
  ...exclusiveCases,
  ...getCases,
  ...listCases,
  ...deleteCases,
  ...chunkCases,
  ...abortCases,
]

/** An empty store to try a backend on. */
export interface Subject {
  backend: Backend
  /** Another process's view of the same store: a second instance; the same where there is none. */
  other: Backend
  close(): Promise<void>
  /**
   * Everything on the medium that is left, beyond committed keys: temporaries, empty folders, open
   * handles. What is still there two seconds after a case fails it.
   */
  leftovers?(): Promise<string[]>
}

/** Runs one case on a fresh store. Rejects where the backend fails it or leaves anything behind. */
export async function runCase(each: Case, make: () => Promise<Subject>): Promise<void> {
  const subject = await make()
  try {
    await each.run(subject.backend, subject.other)
    let left: string[] = []
    const isClean = async (): Promise<boolean> => {
      left = (await subject.leftovers?.()) ?? []
      return left.length === 0
    }
    // A put may reject long before the write that it gave up has settled.
    await eventually(isClean, 'nothing is left behind', 2_000).catch((error: unknown) => {
      assert.deepEqual(left, [], `left behind by "${each.name}"`)
      throw error
    })
  } finally {
    await subject.close()
  }
}
