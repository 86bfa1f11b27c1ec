import type { CollectionNarrowing } from '../../kernel/principal.ts'
import { ok, type Result, refuse } from '../../kernel/result.ts'
import {
  coveredDetails,
  type Details,
  detailsOf,
  type ForeignDetail,
  isDetailFor,
  isOwnType,
  type PresentedGrant,
} from '../registry/details.ts'
import { isOurs, type ResourceEntry } from '../registry/resources.ts'

/** One entry of `authorization_details`, ours or another API's. */
export type Detail = CollectionNarrowing | PresentedGrant | ForeignDetail

/**
 * What of the token's details goes along: our own narrow by set inclusion, others' only as they were granted.
 */
export function detailsFor(
  requestedDetails: unknown,
  claimed: unknown,
  { entry, publicUrl }: { readonly entry: ResourceEntry; readonly publicUrl: string },
): Result<readonly Detail[], 'invalid_authorization_details'> {
  const tokenDetails = detailsOf(claimed)
  const requested = requestedDetails === undefined ? tokenDetails : detailsOf(requestedDetails)
  if (!tokenDetails.ok || !requested.ok || (requestedDetails !== undefined && isEmpty(requested.value)))
    return refuse('invalid_authorization_details', 'these are no details that are known')
  const documents = narrowedDocuments(
    requestedDetails === undefined ? undefined : requested.value.documents,
    tokenDetails.value,
  )
  const grants = heldGrants(requested.value.grants, tokenDetails.value.grants)
  const foreignDetails = coveredDetails(requested.value.others, tokenDetails.value.others)
  if (documents === undefined || grants === undefined || foreignDetails === undefined)
    return refuse('invalid_authorization_details', 'more than the subject token holds')
  const isOwn = isOurs(entry.resource, publicUrl)
  // An agent as an addressee carries what is for others; our API and MCP know of none.
  const fits = (detail: ForeignDetail): boolean =>
    isOwn ? entry.authorizationDetailsTypes.includes(detail.type) : isDetailFor(detail, entry)
  const fitting = foreignDetails.filter(fits)
  if (requestedDetails !== undefined && fitting.length < foreignDetails.length)
    return refuse('invalid_authorization_details', 'that API does not know this')
  const knowsOthers = entry.authorizationDetailsTypes.some((type) => !isOwnType(type))
  // Without its details a token could mean anything there, or one step further.
  if (tokenDetails.value.others.length > 0 && fitting.length === 0 && (!isOwn || knowsOthers))
    return refuse('invalid_authorization_details', 'nothing of it is for that API')
  return ok(isOwn ? [...documents, ...grants, ...fitting] : fitting)
}

const isEmpty = ({ documents, grants, others: foreignDetails }: Details): boolean =>
  documents.length + grants.length + foreignDetails.length === 0
/** Whether a detail is another API's. */
export const isForeign = (detail: Detail): boolean => !isOwnType(detail.type)

function narrowedDocuments(
  requested: readonly CollectionNarrowing[] | undefined,
  { documents: tokenDetails }: Details,
): readonly CollectionNarrowing[] | undefined {
  // Asking for details of others alone does not lift the token's own limit.
  if (requested === undefined || requested.length === 0) return tokenDetails
  const isNarrower = requested.every(({ collections }) =>
    tokenDetails.every((tokenDetail) => collections.every((id) => tokenDetail.collections.includes(id))),
  )
  return isNarrower ? requested : undefined
}

/**
 * What the person said yes to goes along as it is named, or not at all; whose it is, its row says on every
 * use.
 */
function heldGrants(
  requested: readonly PresentedGrant[],
  tokenDetails: readonly PresentedGrant[],
): readonly PresentedGrant[] | undefined {
  const isHeld = ({ type, grant }: PresentedGrant): boolean =>
    tokenDetails.some((tokenDetail) => tokenDetail.type === type && tokenDetail.grant === grant)
  return requested.every(isHeld) ? requested : undefined
}
