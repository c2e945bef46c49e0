// Reading bytes from HTTP servers that clients name, safely: re-exports, nothing else.

export { AddressRules, parseRule, ruleForm } from './address-rules.ts'
export type { AddressRule } from './address-rules.ts'
export type { Answer } from './answer.ts'
export { type Credential, assertCredential, isMeantFor } from './credential.ts'
export * from './checksum-file.ts'
export * from './download.ts'
export { SourceChanged, SourceError, isTransientSource } from './failure.ts'
export { Fetcher } from './fetcher.ts'
export type { FetcherOptions, FetchOptions, ResolvedAddress } from './fetcher.ts'
export { type Proxies, proxyFor } from './proxy.ts'
export * from './redact.ts'
