// What the tests of replicas have in common: their seed and size, and when a trial has failed.

export const seed = Number(process.env.SEED || Math.floor(Math.random() * 2 ** 32))

/** 64 clients, 200 names, as options of `tryReplicas`. */
export const crowd = { clients: 64, names: 200, largeShare: 0.03, slowClients: 3 }

export function secondsOr(usual) {
  return Number(process.env.REPLICA_SECONDS || usual)
}

const expected = {
  put: [200, 201, 409],
  rollback: [201],
  remove: [204, 404],
  race: ['decided'],
  pull: [202],
  kill: ['with a pull that must come'],
  get: [200, 404],
  list: [200],
  versions: [200],
  download: [200, 404],
}

/** What never happened, and so was not tried. */
export function missingOutcomes(counts) {
  return Object.entries(expected).flatMap(([kind, outcomes]) =>
    outcomes
      .filter((outcome) => counts.of(kind, outcome) === 0)
      .map((outcome) => `${kind} ${outcome}`),
  )
}

/** Tells what happened; throws what was wrong, or what never happened and so proves nothing. */
export function judge({ faults, told, counts, failedByDeath }, seconds) {
  console.log(`  ${told}`)
  if (faults !== '') throw new Error(`What was wrong:\n    ${faults}`)
  if (seconds < 30) return
  const missing = missingOutcomes(counts)
  if (counts.of('killed pull', 'gone on with') === 0) missing.push('a pull that was gone on with')
  if (failedByDeath === 0) missing.push('a death with work in flight')
  if (missing.length > 0) throw new Error(`These never happened: ${missing.join(', ')}.`)
}
