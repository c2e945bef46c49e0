// What the rooms of the engine share: one store's backend, catalog and jobs.

import type { Backend } from './backend.ts'
import type { Catalog } from './catalog.ts'
import type { Jobs } from './job.ts'
import type { Failpoint } from './publish.ts'

export interface Rooms {
  backend: Backend
  catalog: Catalog
  jobs: Jobs
  /** Called at each named step of the protocols; tests pause or fail there. */
  at?: Failpoint
  /** Told of what went wrong where nobody waits for it. */
  onProblem: (error: Error) => void
}
