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

export type Detail = CollectionNarrowing | PresentedGrant | ForeignDetail

/** What of the token's details goes along: our own narrow by set inclusion, others' only as they were granted. */
export function detailsFor(
  asked: unknown,
  claimed: unknown,
  { entry, publicUrl }: { readonly entry: ResourceEntry; readonly publicUrl: string },
): Result<readonly Detail[], 'invalid_authorization_details'> {
  const held = detailsOf(claimed)
  const wanted = asked === undefined ? held : detailsOf(asked)
  if (!held.ok || !wanted.ok || (asked !== undefined && isEmpty(wanted.value)))
    return refuse('invalid_authorization_details', 'these are no details that are known')
  const documents = narrowedDocuments(asked === undefined ? undefined : wanted.value.documents, held.value)
  const grants = heldGrants(wanted.value.grants, held.value.grants)
  const others = coveredDetails(wanted.value.others, held.value.others)
  if (documents === undefined || grants === undefined || others === undefined)
    return refuse('invalid_authorization_details', 'more than the subject token holds')
  const isOwn = isOurs(entry.resource, publicUrl)
  // An agent as an addressee carries what is for others; our API and MCP know of none.
  const fits = (detail: ForeignDetail): boolean =>
    isOwn ? entry.authorizationDetailsTypes.includes(detail.type) : isDetailFor(detail, entry)
  const fitting = others.filter(fits)
  if (asked !== undefined && fitting.length < others.length)
    return refuse('invalid_authorization_details', 'that API does not know this')
  const knowsOthers = entry.authorizationDetailsTypes.some((type) => !isOwnType(type))
  // Without its details a token could mean anything there, or one step further.
  if (held.value.others.length > 0 && fitting.length === 0 && (!isOwn || knowsOthers))
    return refuse('invalid_authorization_details', 'nothing of it is for that API')
  return ok(isOwn ? [...documents, ...grants, ...fitting] : fitting)
}

const isEmpty = ({ documents, grants, others }: Details): boolean =>
  documents.length + grants.length + others.length === 0
export const isForeign = (detail: Detail): boolean => !isOwnType(detail.type)

function narrowedDocuments(
  wanted: readonly CollectionNarrowing[] | undefined,
  { documents: held }: Details,
): readonly CollectionNarrowing[] | undefined {
  // Asking for details of others alone does not lift the token's own limit.
  if (wanted === undefined || wanted.length === 0) return held
  const isNarrower = wanted.every(({ collections }) =>
    held.every((one) => collections.every((id) => one.collections.includes(id))),
  )
  return isNarrower ? wanted : undefined
}

/** What the person said yes to goes along as it is named, or not at all; whose it is, its row says on every use. */
function heldGrants(
  wanted: readonly PresentedGrant[],
  held: readonly PresentedGrant[],
): readonly PresentedGrant[] | undefined {
  const isHeld = ({ type, grant }: PresentedGrant): boolean =>
    held.some((one) => one.type === type && one.grant === grant)
  return wanted.every(isHeld) ? wanted : undefined
}
