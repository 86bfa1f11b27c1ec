import { isObject, isWord } from './json.ts'

/** One of a token's, or a request's, `authorization_details` (RFC 9396). */
export interface Detail {
  readonly type: string
  readonly [member: string]: unknown
}

const detailsMax = 20

/** Absent is none. Undefined: not a list of details. */
export function detailsOf(claim: unknown): readonly Detail[] | undefined {
  if (claim === undefined) return []
  if (!Array.isArray(claim) || claim.length > detailsMax) return undefined
  const details: readonly unknown[] = claim
  return details.every(isDetail) ? details : undefined
}

export const isDetail = (value: unknown): value is Detail => isObject(value) && isWord(value['type'])
