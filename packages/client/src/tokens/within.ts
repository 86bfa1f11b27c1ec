import type { Detail } from '../shared/detail.ts'
import { canonicalJson } from '../shared/json.ts'

/** Whether what was granted is what was asked for, or less. */
export type Within = (granted: Detail, requested: Detail) => boolean

/** Members that only ever make a detail smaller, so that an issuer may add them. */
const limits = new Set(['until', 'valid_until'])

/** Lists of what is allowed, which are less with fewer items. Any other may be a list of what is not. */
const allowLists = new Set(['collections', 'actions', 'locations', 'datatypes', 'privileges'])

/**
 * The same detail, or a smaller one: every member of the one that was asked for is there and equal, a list
 * that allows (`collections`, and those of RFC 9396 §2.2) may have lost items, and nothing was added but an
 * end or one use. A missing member is not smaller: without its limit an order has none. An offer of
 * documents becomes its grant, as does a call to a third party. Which numbers are smaller orders only an API
 * knows: see `within` of `withApproval`.
 */
export const isWithin: Within = (granted, requested) => {
  if (granted.type !== requested.type) return false
  if (becomesGrant(requested) && !('grant' in requested))
    return typeof granted['grant'] === 'string' && onlyHas(granted, ['type', 'grant'])
  const areMembersWithin = Object.keys(requested).every((name) =>
    isMemberWithin(name, granted[name], requested[name]),
  )
  return areMembersWithin && onlyHas(granted, Object.keys(requested))
}

/**
 * Whether everything that was granted is within something that was asked for, and something was. Where
 * nothing in particular was asked for, whatever came is less.
 */
export const areWithin = (
  granted: readonly Detail[],
  requested: readonly Detail[],
  containment = isWithin,
): boolean =>
  requested.length === 0 ||
  (granted.length > 0 &&
    granted.every((grantedDetail) =>
      requested.some((requestedDetail) => containment(grantedDetail, requestedDetail)),
    ))

const becomesGrant = ({ type, offer }: Detail): boolean =>
  type === 'vault_call' || (type === 'document_access' && typeof offer === 'string')

const onlyHas = (detail: Detail, names: readonly string[]): boolean =>
  Object.entries(detail).every(
    ([name, value]) =>
      names.includes(name) ||
      limits.has(name) ||
      // Without it a detail is good once (`use` of the guard): more would be more.
      (name === 'max_uses' && value === 1),
  )

function isMemberWithin(name: string, granted: unknown, requested: unknown): boolean {
  if (canonicalJson(granted) === canonicalJson(requested)) return true
  if (!allowLists.has(name) || !Array.isArray(granted) || !Array.isArray(requested)) return false
  const requestedEntries = new Set(requested.map(canonicalJson))
  // None left may mean that no limit is left.
  return granted.length > 0 && granted.every((entry) => requestedEntries.has(canonicalJson(entry)))
}
