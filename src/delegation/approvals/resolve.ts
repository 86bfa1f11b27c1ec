import type { approvalDetail } from '@remit/contract/approval-schemas'
import type { z } from 'zod'
import { invalid } from '../../kernel/errors.ts'
import type { Principal } from '../../kernel/principal.ts'
import { digestOfBody, type VaultCall } from '../vault/call.ts'
import { requesterOf } from './approval.ts'
import type { Offers } from './offers.ts'
import type { RequestedAccess } from './requested-access.ts'

/** What an agent asks for, in its own words. */
export type RequestedDetail = z.output<typeof approvalDetail>

/** Turns it into what is asked, every id our own. With no scopes: a grant is no token. */
export type ResolveDetail = (principal: Principal, detail: RequestedDetail) => Promise<RequestedAccess>

export interface ResolveDetailDeps {
  /**
   * What an offer of this principal's stands for; undefined for every other, for one that is over, and for
   * none.
   */
  readonly findOffer: Offers['find']
  /**
   * Throws where this principal could not make the call even with an approval. Left out: there is no vault.
   */
  readonly resolveCall?: (
    principal: Principal,
    call: VaultCall,
  ) => Promise<{ readonly call: VaultCall; readonly provider: string }>
}

/** Throws 422 for an offer or a body that cannot be taken, and whatever resolving a call throws. */
export function createResolveDetail({ findOffer, resolveCall }: ResolveDetailDeps): ResolveDetail {
  return async (principal, detail) => {
    if (detail.type === 'document_access') {
      const offer = await findOffer(requesterOf(principal), detail.offer)
      // The same for one of somebody else, one that is over, and one that never was.
      if (offer === undefined)
        throw invalid(
          'authorization_details.0.offer',
          'There is no such offer, or no longer: ask POST /retrieve again, with the token that you have now.',
        )
      const { id, documentIds, queryHmac } = offer
      return { kind: 'documents', scopes: [], offer: id, documentIds, queryHmac }
    }
    if (resolveCall === undefined)
      throw invalid('authorization_details.0.type', 'There are no connections here.')
    const { connection, method, path, content_type: contentType, body } = detail
    const bodyDigest = body === undefined ? detail.body_digest : digestOfBody(Buffer.from(body))
    // Else a person would read one thing and agree to another.
    if (detail.body_digest !== undefined && detail.body_digest !== bodyDigest)
      throw invalid('authorization_details.0.body', 'This is not the body that body_digest is of.')
    const resolved = await resolveCall(principal, {
      connection,
      method,
      path,
      ...(contentType !== undefined && { contentType }),
      ...(bodyDigest !== undefined && { bodyDigest }),
    })
    return { kind: 'vault_call', scopes: [], ...resolved, ...(body !== undefined && { body }) }
  }
}
