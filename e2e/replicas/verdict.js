// What the tests of replicas have in common: their seed and size, and when a trial has failed.

export const seed = Number(process.env.SEED || Math.floor(Math.random() * 2 ** 32))

/** 64 clients, 200 names, as options of `tryReplicas`. */
export const crowd = { clients: 64, names: 200, largeShare: 0.03, slowClients: 3 }

export function secondsOr(usual) {
  return Number(process.env.REPLICA_SECONDS || usual)
}

/** Tells what happened; throws what was wrong, or what never happened and so proves nothing. */
export function judge({ faults, told, counts, deaths, failedByDeath }, seconds) {
  console.log(`  ${told}`)
  if (faults !== '') throw new Error(`What was wrong:\n    ${faults}`)
  if (seconds < 30) return
  const expected = { put: [200, 201, 409], rollback: [201], remove: [204, 404], race: ['decided'] }
  Object.assign(expected, { get: [200, 404], list: [200], versions: [200], download: [200, 404] })
  const missing = Object.entries(expected)
    .flatMap(([kind, outcomes]) => outcomes.map((outcome) => ({ kind, outcome })))
    .filter(({ kind, outcome }) => counts.of(kind, outcome) === 0)
    .map(({ kind, outcome }) => `${kind} ${outcome}`)
  if (deaths === 0 || failedByDeath === 0) missing.push('a death with work in flight')
  if (missing.length > 0) throw new Error(`These never happened: ${missing.join(', ')}.`)
}
