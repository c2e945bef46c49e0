// What the tests of a remote are written in: another manager with one image, and the remote that asks it.

import { AddressRules } from '../../source/address-rules.ts'
import type { Credential } from '../../source/credential.ts'
import { Fetcher } from '../../source/fetcher.ts'
import { disk } from '../../testing/rig.ts'
import { Web } from '../../testing/web.ts'
import { Remote } from '../remote.ts'
import { Manager } from './manager.ts'

/** What the manager has. */
export const body: Buffer = disk(1, 300_000)

export interface Rig {
  manager: Manager
  /** What was tried again. */
  troubles: Error[]
  remote: Remote
}

export interface RigOptions {
  /** Under which the manager has its API. */
  root?: string
  /** How that is written down. */
  base?: (usual: URL) => URL
  credential?: Credential
  /** None: the first failure is the last. */
  retryDelaysMs?: number[]
  /** For http, of the fetcher. */
  proxy?: string
}

/** A claim about a remote. */
export function facing(
  options: RigOptions,
  claim: (rig: Rig) => Promise<void>,
): () => Promise<void> {
  return async () => {
    const web = await Web.start()
    const manager = new Manager(web, body, options.root)
    const rules = new AddressRules({ allow: ['127.0.0.0/8'] })
    const { proxy, credential, retryDelaysMs = [], base = (usual) => usual } = options
    const proxies = proxy === undefined ? {} : { http: proxy }
    const fetcher = new Fetcher({ rules, idleTimeoutMs: 60_000, proxies })
    const troubles: Error[] = []
    try {
      await claim({
        manager,
        troubles,
        remote: new Remote({
          fetcher,
          base: base(manager.base),
          id: '0123abcd',
          onTrouble: (error) => troubles.push(error),
          retryDelaysMs,
          ...(credential && { credential }),
        }),
      })
    } finally {
      fetcher.close()
      await web.stop()
    }
  }
}
