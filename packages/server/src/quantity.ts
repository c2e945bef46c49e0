// Sizes and durations as people write them: `512MiB`, `30s`. Configuration and command line read
// them here, and tables show sizes in the same form.

const sizeUnits: Record<string, number> = {
  B: 1,
  KiB: 1024,
  MiB: 1024 ** 2,
  GiB: 1024 ** 3,
  TiB: 1024 ** 4,
}
const durationUnits: Record<string, number> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 }

/** What `parseSize` takes, for messages. */
export const sizeForm = 'a size such as 512MiB, 2TiB or plain bytes'
/** What `parseDuration` takes, for messages. */
export const durationForm = 'a duration such as 500ms, 30s or 5m, at most 24h'

/** Node's timers overflow after 24.8 days and then fire at once. */
const durationMsMax = 24 * 3_600_000

/** Bytes in `2097152`, `512MiB`, `2TiB`; undefined when the text is no such size. */
export function parseSize(text: string): number | undefined {
  const sizeBytes = product(/^([0-9]{1,16})(KiB|MiB|GiB|TiB|B)?$/.exec(text), sizeUnits)
  return Number.isSafeInteger(sizeBytes) ? sizeBytes : undefined
}

/** Milliseconds in `500ms`, `30s`, `5m`, `1h`; undefined for anything else and over the limit. */
export function parseDuration(text: string, msMax: number = durationMsMax): number | undefined {
  const durationMs = product(/^([0-9]{1,9})(ms|s|m|h)$/.exec(text), durationUnits)
  return durationMs !== undefined && durationMs <= msMax ? durationMs : undefined
}

function product(match: RegExpExecArray | null, units: Record<string, number>): number | undefined {
  if (!match) return undefined
  return Number(match[1]) * (units[match[2] ?? 'B'] ?? Number.NaN)
}

/** A size for people: `512 B`, `1.5 GiB`. */
export function formatSize(sizeBytes: number): string {
  const [unit, factor] = Object.entries(sizeUnits).findLast(([, each]) => sizeBytes >= each) ?? []
  if (unit === undefined || factor === undefined) return `${sizeBytes} B`
  return `${Number((sizeBytes / factor).toFixed(1))} ${unit}`
}
