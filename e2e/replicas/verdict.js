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
  get: [200, 404],
  list: [200],
  versions: [200],
  download: [200, 404],
}

/** So many deaths meet a pull, but for very bad luck. */
const deathsThatMeet = 5

const ofPulls = [
  ['kill', 'with a pull that must come'],
  ['killed pull', 'gone on with'],
]

/** What never happened, and so was not tried. */
export function missingOutcomes(counts) {
  return Object.entries(expected).flatMap(([kind, outcomes]) =>
    outcomes
      .filter((outcome) => counts.of(kind, outcome) === 0)
      .map((outcome) => `${kind} ${outcome}`),
  )
}

/**
 * Tells what happened; throws what was wrong, or what never happened and so proves nothing. Of few deaths
 * none may meet a pull: other tests kill in the middle of them for certain.
 */
export function judge({ faults, told, counts, failedByDeath, deaths }, seconds) {
  console.log(`  ${told}`)
  if (faults !== '') throw new Error(`What was wrong:\n    ${faults}`)
  if (seconds < 30) return
  const missing = missingOutcomes(counts)
  for (const [kind, outcome] of deaths >= deathsThatMeet ? ofPulls : []) {
    if (counts.of(kind, outcome) === 0) missing.push(`${kind} ${outcome}`)
  }
  if (failedByDeath === 0) missing.push('a death with work in flight')
  if (missing.length > 0) throw new Error(`These never happened: ${missing.join(', ')}.`)
}
