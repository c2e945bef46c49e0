// The certificate and key of HTTPS, read again when their files change.

import { X509Certificate, createPrivateKey } from 'node:crypto'
import { readFileSync, unwatchFile, watchFile } from 'node:fs'
import { createSecureContext } from 'node:tls'
import type { Server } from 'node:https'
import { asError } from '@backing-image/core'
import type { Logger } from 'pino'
import type { TlsConfig } from './config.ts'
import { shown } from './secret.ts'

const lookIntervalMs = 5000

export interface KeyPair {
  cert: Buffer
  key: Buffer
}

/** Throws when they can not be read, or do not belong together. */
export function readKeyPair(tls: TlsConfig): KeyPair {
  const pair = { cert: readFileSync(tls.certFile), key: readFileSync(tls.keyFile) }
  createSecureContext(pair)
  return pair
}

/** Why these can not serve, a line a variable. Of files that can not be read it says nothing. */
export function keyPairFaults({ certFile, keyFile }: TlsConfig): string[] {
  const cert = orUndefined(() => readFileSync(certFile))
  const key = orUndefined(() => readFileSync(keyFile))
  if (cert === undefined || key === undefined) return []
  const faults: string[] = []
  const certificate = orUndefined(() => {
    createSecureContext({ cert })
    return new X509Certificate(cert)
  })
  if (!certificate) {
    faults.push(
      `TLS_CERT_FILE: ${shown('', certFile)} holds no certificate; one in PEM is expected.`,
    )
  }
  const privateKey = orUndefined(() => createPrivateKey(key))
  if (!privateKey) {
    faults.push(
      `TLS_KEY_FILE: ${shown('', keyFile)} holds no usable key; one in PEM, not encrypted, is expected.`,
    )
  }
  if (certificate && privateKey && !certificate.checkPrivateKey(privateKey)) {
    const names = `${shown('', keyFile)} is not the key of ${shown('', certFile)}`
    faults.push(`TLS_CERT_FILE, TLS_KEY_FILE: ${names}; the two of one pair are expected.`)
  }
  return faults
}

function orUndefined<T>(read: () => T): T | undefined {
  try {
    return read()
  } catch {
    return undefined
  }
}

/**
 * New connections get the new certificate; those that are open keep theirs. While the files do not
 * fit, because one was written before the other, the old one stays. Returns what ends the watching.
 */
export function followKeyPair(
  server: Server,
  tls: TlsConfig,
  log: Logger,
  intervalMs: number = lookIntervalMs,
): () => void {
  const reload = () => {
    try {
      server.setSecureContext(readKeyPair(tls))
      log.info({ certFile: tls.certFile }, 'certificate read again')
    } catch (error) {
      log.error(
        { err: asError(error), ...tls },
        'the new certificate is no good; the old one stays',
      )
    }
  }
  const files = [tls.certFile, tls.keyFile]
  // Looked at, not listened to: mounted secrets are swapped by links, which tells no watcher.
  for (const file of files) watchFile(file, { interval: intervalMs, persistent: false }, reload)
  return () => {
    for (const file of files) unwatchFile(file, reload)
  }
}
