import type { Config } from '../config/config.ts'
import type { Fetch } from '../delegation/tokens/fetch-json.ts'
import type { Boss } from '../jobs/boss.ts'
import type { Clock } from '../kernel/clock.ts'
import type { Log } from '../kernel/log.ts'
import type { GuardedFetch } from '../outbound/guarded-fetch.ts'
import type { SourceKind } from '../sources/kind.ts'
import type { Database } from '../store/sql.ts'
import type { Infrastructure } from './infrastructure.ts'

/** What a service is made of. */
export interface ComposeOptions {
  readonly config: Config
  readonly infrastructure: Infrastructure
  readonly clock: Clock
  /**
   * Whether nobody is answered while `clock` and the database's are apart (decision 0093). Default false:
   * tests put theirs.
   */
  readonly comparesClocks?: boolean
  /** For ages, in milliseconds. Default: this process's (kernel/elapsed.ts). */
  readonly elapsed?: () => number
  readonly log: Log
  /** For what settings name: the keys of trusted issuers, the search engine. */
  readonly fetch: Fetch
  /**
   * For every address that comes from outside or may be changed there: reaches what is public, and these
   * origins wherever they are.
   */
  readonly outboundTo: (allowedOrigins: readonly string[]) => GuardedFetch
  /** Kinds of sources. Default: those that are built in. */
  readonly sourceKinds?: readonly SourceKind[]
  /** Throws while this process may count as ended. Left out: it is not registered. */
  readonly assertLive?: () => void
}

/** What all parts are made of; each names what it takes. */
export interface ComposeContext extends Omit<ComposeOptions, 'outboundTo'> {
  /** To addresses that operators and administrators register. */
  readonly outbound: GuardedFetch
  /** To addresses that any person's browser names. */
  readonly pushOutbound: GuardedFetch
  /** To addresses that anybody at all names. */
  readonly publicOutbound: GuardedFetch
  readonly database: Database
  /** Of all queues. */
  readonly boss: Boss
  readonly now: () => number
  /** For ages, in milliseconds. */
  readonly elapsed: () => number
  readonly newTxn: () => string
  /** Folder of the keys that this deployment makes for itself. */
  readonly keysDir: string
}
