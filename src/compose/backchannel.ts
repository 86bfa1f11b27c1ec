import type { Approvals } from '../delegation/approvals/approvals.ts'
import type { ResolveDetail } from '../delegation/approvals/resolve.ts'
import { type Backchannel, createBackchannel } from '../delegation/oauth/ciba/backchannel.ts'
import { createDelegationLookup } from '../delegation/oauth/ciba/delegation-lookup.ts'
import {
  createBackchannelRequests,
  createPingHandler,
  startPings,
} from '../delegation/oauth/ciba/requests.ts'
import { createResults } from '../delegation/oauth/ciba/results.ts'
import type { Consents } from '../delegation/oauth/consents.ts'
import { createPgBossQueue } from '../jobs/pgboss.ts'
import type { Seal } from '../store/encryption.ts'
import type { ComposeContext } from './context.ts'
import type { DelegationPart } from './delegation.ts'

/** What CIBA requests are made of. */
export interface BackchannelPartDeps
  extends Pick<ComposeContext, 'database' | 'boss' | 'clock' | 'log' | 'outbound' | 'newTxn'>,
    Pick<DelegationPart, 'clients' | 'agents' | 'delegations'> {
  readonly seal: Seal
  readonly grants: Consents
  readonly approvals: Approvals
  readonly resolve: ResolveDetail
  readonly publicUrl: string
}

/** CIBA, with its background tasks. */
export interface BackchannelPart extends AsyncDisposable {
  readonly backchannel: Backchannel
  /** Background tasks, each to be run now and every hour. */
  readonly tasks: Readonly<Record<string, () => Promise<unknown>>>
}

/** CIBA at the authorization server, as a front of the approvals table, and the pings that belong to it. */
export async function openBackchannel(dependencies: BackchannelPartDeps): Promise<BackchannelPart> {
  const { database: sql, boss, seal, clock, log, approvals } = dependencies
  await using stack = new AsyncDisposableStack()
  const requests = createBackchannelRequests({ sql, seal, clock, log })
  const queue = stack.use(
    createPgBossQueue({
      database: sql,
      boss,
      name: 'pings',
      pollSeconds: 5,
      onError: (error) => log('pings_failed', { reason: error.message }),
    }),
  )
  await queue.start(createPingHandler({ ...dependencies, requests, fetch: dependencies.outbound }))
  const pings = stack.use(startPings({ ...dependencies, queue, requests }))
  stack.use(
    approvals.onChange(({ id, front, state }) => {
      if (front === 'ciba' && (state === 'approved' || state === 'denied')) pings.wake(id)
    }),
  )
  const owned = stack.move()
  return {
    backchannel: createBackchannel({
      ...dependencies,
      requests,
      pings,
      lentTo: createDelegationLookup({ sql, clock }),
      resultOf: createResults({ ...dependencies, requests }),
    }),
    tasks: { backchannel_requests: () => requests.sweep() },
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  }
}
