// Images that differ in some blocks, of any size: they are never in memory.

import { bodyPieces } from '../durability/bodies.js'

/** Of the block index that managers compare. */
export const blockBytes = 4 * 1024 * 1024
/** Half a sector short of a whole block. */
const shortBytes = 256
/** What makes an ISO of it. */
const mark = { text: 'CD001', at: 32_769 }

/**
 * So many blocks that look random, but for those of `zeros`; those of `changed` are others than without.
 * Never change the first one.
 */
export function isoContent(label, { blocks, zeros = [], changed = [] }) {
  const size = blocks * blockBytes - shortBytes
  function* piecesOf(block) {
    const length = Math.min(blockBytes, size - block * blockBytes)
    if (zeros.includes(block)) yield Buffer.alloc(length)
    else yield* bodyPieces(`${label} ${block} ${changed.includes(block)}`, length)
  }
  function* read() {
    for (let block = 0; block < blocks; block += 1) {
      for (const [index, piece] of [...piecesOf(block)].entries()) {
        if (block === 0 && index === 0) piece.write(mark.text, mark.at)
        yield piece
      }
    }
  }
  const data = Array.from({ length: blocks }, (_, block) => block).filter(
    (block) => !zeros.includes(block),
  )
  /** How many bytes that are no zeros its blocks have from the one on that `position` is in. */
  const dataFrom = (position) =>
    data.filter((block) => block >= Math.floor(position / blockBytes)).length * blockBytes
  return { size, read, dataFrom, dataBytes: dataFrom(0) }
}
