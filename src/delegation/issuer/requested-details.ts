import { collectionNarrowing } from '../claims.ts'
import { detailsOf, isDetailFor, isForeignDetail } from '../details.ts'
import { isOurs, type Resources } from './resources.ts'

export interface DetailsRequest {
  /** The whole parameter, as it came. */
  readonly all: unknown
  readonly resource: unknown
}

/**
 * Why one requested detail (RFC 9396) cannot be asked for at this API; undefined where it can. Addressed to an agent,
 * which carries it on, a detail of another's API has to name that API: two of them may use one word for two things.
 */
export async function detailProblem(
  detail: object,
  { all, resource }: DetailsRequest,
  { resources, publicUrl }: { readonly resources: Resources; readonly publicUrl: string },
): Promise<string | undefined> {
  if (typeof resource !== 'string') return 'details are for exactly one resource'
  if (typeof all !== 'string' || !detailsOf(JSON.parse(all)).ok)
    return 'at most 10 details, one of them document_access, each of at most 2 KiB of plain text'
  const entry = await resources.get(resource)
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
  const [location, ...more] = detail.locations ?? []
  const target = location === undefined || more.length > 0 ? undefined : await resources.get(location)
  return target !== undefined && isDetailFor(detail, target)
    ? undefined
    : 'locations has to name the one API that the detail is for'
}
