import type { Clock } from '../kernel/clock.ts'
import type { Log } from '../kernel/log.ts'
import type { Seal } from './encryption.ts'
import type { Database, Sql } from './sql.ts'

/** What parts of the service take of the process that they run in: each picks what it needs. */
export interface Runtime {
  readonly database: Database
  /** The database or a transaction, for whoever begins none. */
  readonly sql: Sql
  readonly seal: Seal
  readonly clock: Clock
  readonly log: Log
  readonly randomBytes: (size: number) => Buffer
  readonly newTxn: () => string
  readonly publicUrl: string
  /** `iss` of the built-in authorization server and of its tokens. */
  readonly issuer: string
  /** Whether this is the demo. */
  readonly demo: boolean
}
