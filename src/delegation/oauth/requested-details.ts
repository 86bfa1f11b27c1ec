import { collectionNarrowing } from '../registry/claims.ts'
import { detailsMax, detailsOf, isDetailFor, isForeignDetail, isOwnType } from '../registry/details.ts'
import { isOurs, type Resources } from '../registry/resources.ts'

/** `authorization_details` as they came, and the API that they are for. */
export interface DetailsRequest {
  /** The whole parameter, as it came. */
  readonly all: unknown
  readonly resource: unknown
  /**
   * The person is asked on a page of their own that shows more than a consent: for documents, and for one
   * call.
   */
  readonly isBackchannel?: boolean
}

/** `{offer}` of documents, and a call: they ask for an approval, and never stand in a token. */
export const onlyAsks = (detail: unknown): detail is object =>
  typeof detail === 'object' &&
  detail !== null &&
  'type' in detail &&
  isOwnType(String(detail.type)) &&
  !('collections' in detail) &&
  !('grant' in detail)

/**
 * Why one requested detail (RFC 9396) cannot be asked for at this API; undefined where it can. Addressed to
 * an agent, which carries it on, a detail of another's API has to name that API: two of them may use one word
 * for two things.
 */
export async function detailProblem(
  detail: object,
  { all: rawDetails, resource, isBackchannel = false }: DetailsRequest,
  { resources, publicUrl }: { readonly resources: Resources; readonly publicUrl: string },
): Promise<string | undefined> {
  if (typeof resource !== 'string') return 'details are for exactly one resource'
  const parsedDetails: unknown = typeof rawDetails === 'string' ? JSON.parse(rawDetails) : undefined
  if (!Array.isArray(parsedDetails) || parsedDetails.length > detailsMax)
    return `at most ${detailsMax} details`
  const asks = isBackchannel && onlyAsks(detail)
  const grantedDetails = isBackchannel ? parsedDetails.filter((entry) => !onlyAsks(entry)) : parsedDetails
  if (!detailsOf(grantedDetails).ok)
    return 'at most 10 details, one of them document_access, each of at most 2 KiB of plain text'
  const entry = await resources.get(resource)
  // What it stands for is looked up once it is known who is asked.
  if (asks)
    return entry?.authorizationDetailsTypes.includes(typeOf(detail)) === true
      ? undefined
      : `this resource does not know ${typeOf(detail)}`
  if (!isForeignDetail(detail)) {
    if (!collectionNarrowing.safeParse(detail).success)
      return 'document_access is {type, collections: [id, …]}'
    return entry?.authorizationDetailsTypes.includes('document_access') === true
      ? undefined
      : 'this resource does not know document_access'
  }
  if (entry === undefined) return 'this resource is not known'
  if (!isOurs(resource, publicUrl))
    return isDetailFor(detail, entry) ? undefined : `this resource does not know ${detail.type}`
  if (!entry.authorizationDetailsTypes.includes(detail.type))
    return `this resource does not know ${detail.type}`
  const [location, ...otherLocations] = detail.locations ?? []
  const target =
    location === undefined || otherLocations.length > 0 ? undefined : await resources.get(location)
  return target !== undefined && isDetailFor(detail, target)
    ? undefined
    : 'locations has to name the one API that the detail is for'
}

const typeOf = (detail: object): string => ('type' in detail ? String(detail.type) : '')
