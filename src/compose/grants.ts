import {
  type ApprovalGrants,
  type ApprovalGrantsDeps,
  createApprovalGrants,
} from '../delegation/approvals/grants.ts'
import { createOffers, type Offers } from '../delegation/approvals/offers.ts'
import type { ResolveDetailDeps } from '../delegation/approvals/resolve.ts'
import { createVaultFetch, type VaultFetch } from '../delegation/vault/fetch.ts'
import { createCallResolution } from '../delegation/vault/resolve-call.ts'
import type { App } from '../http/env.ts'
import type { RequireBearer } from '../http/middleware/bearer.ts'
import { vaultFetchRoutes } from '../http/routes/vault/vault.ts'
import { type Approvals, createPresenting, type Presenting } from '../retrieval/approvals.ts'
import type { ComposeContext } from './context.ts'
import type { Vault } from './vault.ts'

/** What an agent is offered beside what was lent, and what came of its person's yes. */
export interface Grants {
  readonly approvalGrants: ApprovalGrants
  readonly offers: Offers
  /** As retrieval presents and offers them. */
  readonly approvals: Approvals
  readonly presenting: Presenting
  /** To be run every hour. */
  readonly tasks: Readonly<Record<string, () => Promise<unknown>>>
}

/** Makes the grants that approvals become, and the offers to ask for one. */
export function createGrants(dependencies: ApprovalGrantsDeps): Grants {
  const approvalGrants = createApprovalGrants(dependencies)
  const offers = createOffers({ ...dependencies, sql: dependencies.database })
  const approvals: Approvals = { ...approvalGrants, ...offers, makeOfferWithin: offers.makeWithin }
  return {
    approvalGrants,
    offers,
    approvals,
    presenting: createPresenting({ ...dependencies, approvals }),
    tasks: { approval_grants: () => approvalGrants.mend(), offers: () => offers.sweep() },
  }
}

/** Connections of people, grants and the guarded fetch. */
export interface VaultCallsDeps extends Pick<ComposeContext, 'database' | 'outbound' | 'log'> {
  readonly vault: Pick<Vault, 'connections'>
  readonly grants: Pick<Grants, 'approvalGrants'>
}

/** What agents do with accounts that people linked. */
export interface VaultCalls {
  /** For what asks people: a call as it would be sent. */
  readonly resolveCall: NonNullable<ResolveDetailDeps['resolveCall']>
  /** One call with the person's token, which the agent never holds. */
  readonly fetch: VaultFetch
  routes(face: { readonly requireBearer: RequireBearer }): App
}

/** Makes calls in a person's name to accounts elsewhere, each under a grant. */
export function createVaultCalls({ database, vault, grants, outbound, log }: VaultCallsDeps): VaultCalls {
  const { connections } = vault
  const resolve = createCallResolution({ connections })
  const fetch = createVaultFetch({
    database,
    connections,
    resolve,
    grants: grants.approvalGrants,
    outbound,
    log,
  })
  return {
    async resolveCall(principal, callRequest) {
      const { found, call } = await resolve(
        principal,
        callRequest,
        (member) => `authorization_details.0.${wire[member]}`,
      )
      return { call, provider: found.provider.name }
    },
    fetch,
    routes: (face) => vaultFetchRoutes({ fetch, ...face }),
  }
}

/** Members of a detail as they are on the wire. */
const wire = {
  connection: 'connection',
  method: 'method',
  path: 'path',
  contentType: 'content_type',
  bodyDigest: 'body_digest',
} as const
