// What a bench finds: one figure is a ratio of ours to a peer or a limit, with the goal it is held
// against. Also the medians that make the ratios, and the table that shows them.

/** The middle of some numbers; of an even count the mean of the two in the middle. */
export function median(numbers) {
  const sorted = numbers.toSorted((a, b) => a - b)
  const middle = sorted.length / 2
  return (sorted[Math.floor(middle)] + sorted[Math.ceil(middle) - 1]) / 2
}

/** The smallest number that `share` (0 to 1) of all numbers do not exceed. */
export function quantile(numbers, share) {
  const sorted = numbers.toSorted((a, b) => a - b)
  return sorted[Math.max(0, Math.ceil(sorted.length * share) - 1)]
}

/**
 * Runs all sides in turn, round after round, so that whatever else the machine does meets them all.
 * Each side is a function that resolves with a number; the result has their medians. `show` turns a
 * number into text for the progress.
 */
export async function inTurns({ rounds, say }, show, sides) {
  const found = Object.fromEntries(Object.keys(sides).map((name) => [name, []]))
  for (let round = 1; round <= rounds; round += 1) {
    for (const [name, side] of Object.entries(sides)) {
      const value = await side()
      found[name].push(value)
      say(`round ${round} of ${rounds}, ${name}: ${show(value)}`)
    }
  }
  return Object.fromEntries(Object.entries(found).map(([name, values]) => [name, median(values)]))
}

/** `show` turns a number into text with its unit. Without a goal a figure is there to be looked at. */
export function figure({ what, ours, peer, peerName, show, goal }) {
  const ratio = ours / peer
  return { what, ours: show(ours), peer: `${show(peer)} ${peerName}`, ratio, goal }
}

export function atMost(bound) {
  return { text: `≤ ${bound}`, isMet: (ratio) => ratio <= bound }
}

export function under(bound) {
  return { text: `< ${bound}`, isMet: (ratio) => ratio < bound }
}

export function atLeast(bound) {
  return { text: `≥ ${bound}`, isMet: (ratio) => ratio >= bound }
}

export function seconds(value) {
  return `${value.toFixed(2)} s`
}

export function milliseconds(value) {
  return `${value.toFixed(1)} ms`
}

export function mebibytes(value) {
  return `${Math.round(value / 2 ** 20)} MiB`
}

export function mebibytesPerSecond(value) {
  return `${Math.round(value / 2 ** 20)} MiB/s`
}

/** Rows of text; a figure without a ratio is a sentence. */
export function formatTable(figures) {
  const head = ['bench', 'measured', 'ours', 'against', 'ratio', 'goal', 'met']
  const rows = figures.map(({ name, what, ours = '', peer = '', ratio, goal }) => {
    if (ratio === undefined) return [name, what]
    const met = goal ? (goal.isMet(ratio) ? 'yes' : 'NO') : '-'
    return [name, what, ours, peer, ratio.toFixed(2), goal?.text ?? '-', met]
  })
  const full = [head, ...rows.filter((row) => row.length === head.length)]
  const widths = head.map((_, column) => Math.max(...full.map((row) => row[column].length)))
  const line = (row) => row.map((cell, column) => cell.padEnd(widths[column])).join('  ')
  const rule = widths.map((width) => '-'.repeat(width))
  return [head, rule, ...rows].map((row) => `${line(row).trimEnd()}\n`).join('')
}
