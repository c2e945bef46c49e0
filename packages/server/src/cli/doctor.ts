// `doctor`: what a server with this environment would stumble over, one line a check: `ok`, `warn` or
// `FAIL`, what was looked at, and what to do.

import { X509Certificate } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { stat } from 'node:fs/promises'
import {
  type Backend,
  asError,
  hasOwners,
  hasProbe,
  hasSpace,
  hasUnfinished,
} from '@backing-image/core'
import { bytesOf, canaryKey, freshId, isImageError, readAll } from '@backing-image/core'
import type { Command } from 'commander'
import { openBackend, placeOf } from '../backends.ts'
import { type Config, ConfigError, readConfig } from '../config.ts'
import { formatSize } from '../quantity.ts'
import { askOwnServer, ownUrl } from './health.ts'
import { CommandError, type Terminal } from './terminal.ts'

type Level = 'ok' | 'warn' | 'FAIL'
type Say = (level: Level, what: string, text: string) => void

const clockDriftMsMax = 5000
const freeShareLeast = 0.05
const certificateDaysLeast = 14

export function addDoctor(program: Command, terminal: Terminal): void {
  program
    .command('doctor')
    .description('check configuration, storage, clock, permissions and space; one line each')
    .addHelpText('after', '\nRun it as the user and with the environment of the server.')
    .action(async () => {
      const faulty = new Set<string>()
      await examine(terminal, (level, what, text) => {
        if (level === 'FAIL') faulty.add(what)
        const line = text.replaceAll(/\s*\n\s*/g, ' ')
        terminal.stdout.write(`${level.padEnd(4)} ${what.padEnd(18)} ${line}\n`)
      })
      const advice = 'Mend what the lines with FAIL say.'
      if (faulty.has('configuration')) throw new ConfigError([advice])
      if (faulty.size > 0) throw new CommandError(advice)
    })
}

async function examine(terminal: Terminal, say: Say): Promise<void> {
  let config: Config
  try {
    config = readConfig(terminal.env)
  } catch (error) {
    const faults = error instanceof ConfigError ? error.faults : [asError(error).message]
    for (const fault of faults) say('FAIL', 'configuration', fault)
    return
  }
  const { storage } = config
  say(
    'ok',
    'configuration',
    `${storage.type} backend at ${placeOf(storage)}, listening on ${config.host}:${config.port}`,
  )
  checkAccess(config, say)
  if (config.tls) checkCertificate(config.tls, say)
  await checkStorage(config, say)
  await checkServer(config, say)
}

function checkAccess(config: Config, say: Say): void {
  if (config.apiToken !== undefined && config.urlSigningKeys.length > 0) {
    say('ok', 'access', 'writing needs API_TOKEN, and permanent URLs are signed')
  } else if (config.apiToken !== undefined) {
    say('warn', 'access', 'URL_SIGNING_KEY is not set: there are no permanent URLs. Set a secret.')
  } else {
    say(
      'warn',
      'access',
      'API_TOKEN is not set: everyone who reaches the server may write. Set it.',
    )
  }
}

function checkCertificate(tls: { certFile: string }, say: Say): void {
  try {
    const certificate = new X509Certificate(readFileSync(tls.certFile))
    const days = Math.floor((Date.parse(certificate.validTo) - Date.now()) / 86_400_000)
    if (days < 0) return say('FAIL', 'certificate', `${tls.certFile} has expired. Renew it.`)
    const level = days < certificateDaysLeast ? 'warn' : 'ok'
    return say(level, 'certificate', `${tls.certFile} is valid for ${days} more days`)
  } catch (error) {
    return say('FAIL', 'certificate', `${tls.certFile}: ${asError(error).message}`)
  }
}

async function checkStorage(config: Config, say: Say): Promise<void> {
  let backend
  try {
    backend = await openBackend(config, (text) => say('warn', 'storage', text))
  } catch (error) {
    return say('FAIL', 'storage', asError(error).message)
  }
  try {
    if (tellFindings(backend, say)) {
      await checkWriting(backend, say)
      await checkExclusive(backend, say)
    }
    await checkSpace(backend, say)
    if (config.storage.type !== 's3') await checkPermissions(config.storage.path, say)
  } catch (error) {
    say('FAIL', 'storage', asError(error).message)
  } finally {
    await backend.close()
  }
  return undefined
}

/** What was found when the store was opened; false where nothing may be written to it. */
function tellFindings(backend: Backend, say: Say): boolean {
  if (!hasProbe(backend)) return true
  for (const { level, what, text } of backend.findings) say(level, what, text)
  if (backend.writeRefusal === undefined) return true
  say('FAIL', 'storage', backend.writeRefusal)
  return false
}

async function checkWriting(backend: Backend, say: Say): Promise<void> {
  const key = canaryKey()
  const content = `{"doctor":"${freshId()}"}\n`
  const startedAtMs = performance.now()
  const before = Date.now()
  const { modifiedAt } = await backend.put(key, bytesOf(content))
  const after = Date.now()
  try {
    const found = (await readAll(await backend.get(key))).toString()
    if (found !== content) return say('FAIL', 'storage', 'other bytes are read than were written.')
  } finally {
    await backend.delete(key)
  }
  const tookMs = Math.round(performance.now() - startedAtMs)
  say('ok', 'storage', `opened; written, synced, read and deleted in ${tookMs} ms`)
  return checkClock(Number(modifiedAt / 1_000_000n), { before, after }, say)
}

/** Nothing depends on clocks that agree, but people compare times. */
function checkClock(storeMs: number, ours: { before: number; after: number }, say: Say): void {
  const driftMs = Math.max(ours.before - storeMs, storeMs - ours.after, 0)
  if (driftMs <= clockDriftMsMax) {
    return say('ok', 'clock', 'the store and this machine agree on the time')
  }
  const seconds = Math.round(driftMs / 1000)
  return say('warn', 'clock', `the store and this machine differ by ${seconds} s. Set both by NTP.`)
}

async function checkExclusive(backend: Backend, say: Say): Promise<void> {
  const key = canaryKey()
  const put = () => backend.put(key, bytesOf('{}\n'), { ifAbsent: true })
  await put()
  try {
    await put()
    say('FAIL', 'capabilities', 'the store creates what is there already: writers would collide.')
  } catch (error) {
    if (!isImageError(error, 'already_exists')) throw error
    const powers = [
      'exclusive creation',
      ...(hasUnfinished(backend) ? ['sweeping of unfinished writes'] : []),
      ...(hasOwners(backend) ? ['proof that a process is dead'] : []),
      ...(hasSpace(backend) ? ['free space'] : []),
    ]
    say('ok', 'capabilities', powers.join(', '))
  } finally {
    await backend.delete(key)
  }
}

async function checkSpace(backend: Backend, say: Say): Promise<void> {
  if (!hasSpace(backend)) return
  const { freeBytes, totalBytes } = await backend.space()
  const text = `${formatSize(freeBytes)} of ${formatSize(totalBytes)} are free`
  if (freeBytes / totalBytes >= freeShareLeast) say('ok', 'space', text)
  else say('warn', 'space', `${text}. Delete images or enlarge the medium.`)
}

async function checkPermissions(path: string, say: Say): Promise<void> {
  const { mode, uid, gid } = await stat(path)
  const shown = `${path} has mode ${(mode & 0o7777).toString(8)}, user ${uid}, group ${gid}`
  // Without the sticky bit everybody could also take our files away.
  if ((mode & 0o002) === 0) say('ok', 'permissions', `${shown}; this is user ${process.getuid?.()}`)
  else say('warn', 'permissions', `${shown}: everyone may write there. chmod o-w ${path}`)
}

async function checkServer(config: Config, say: Say): Promise<void> {
  const url = ownUrl(config)
  try {
    const { code, body } = await askOwnServer(config, '/ready')
    if (code === 200) say('ok', 'server', `${url} is running and ready`)
    else say('FAIL', 'server', `${url} is not ready: ${code} ${body.trim()}`)
  } catch (error) {
    const why = asError(error).message
    if (why === 'ECONNREFUSED') say('ok', 'server', `none is running at ${url}`)
    else say('FAIL', 'server', `${url} does not answer: ${why}.`)
  }
}
