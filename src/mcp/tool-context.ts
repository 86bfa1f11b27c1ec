import type { ScopeChallengeHandler } from '@modelcontextprotocol/server'
import type { Log } from '../kernel/log.ts'
import type { Scope } from '../kernel/principal.ts'
import type { Call } from './call.ts'
import type { RequestState } from './state.ts'

/** What every tool gets of the one call that its server is made for. */
export interface ToolContext {
  readonly call: Call
  readonly log: Log
  readonly txn: string
  /** What stands before a tool that needs these scopes. */
  readonly challenge: (scopes: readonly Scope[]) => ScopeChallengeHandler
  readonly state: RequestState
}
