import type { ResolveDetailDeps } from '../delegation/approvals/resolve.ts'
import { createVaultFetch, type VaultFetch } from '../delegation/vault/fetch.ts'
import { createCallResolution } from '../delegation/vault/resolve-call.ts'
import type { App } from '../http/env.ts'
import type { RequireBearer } from '../http/middleware/bearer.ts'
import { vaultFetchRoutes } from '../http/routes/vault/vault.ts'
import type { ComposeContext } from './context.ts'
import type { Grants } from './grants.ts'
import type { Vault } from './vault.ts'

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
