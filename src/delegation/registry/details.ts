import { createHash } from 'node:crypto'
import { hasPlainCharacters } from '@remit/contract/text'
import { z } from 'zod'
import type { CollectionNarrowing } from '../../kernel/principal.ts'
import { ok, type Result, refuse } from '../../kernel/result.ts'
import { collectionNarrowing, grantDetail } from './claims.ts'

/**
 * A detail (RFC 9396) of another's API, such as `trade_order` of a broker. What it means is that API's
 * business; here it is shown, granted and handed on whole, or not at all.
 */
export interface ForeignDetail {
  readonly type: string
  /** The APIs that it is for. */
  readonly locations?: readonly string[]
  readonly [member: string]: unknown
}

/** The yes of a person that a token presents: see `Principal.grant`. */
export interface PresentedGrant {
  readonly type: 'document_access' | 'vault_call'
  readonly grant: string
}

/** Everything that a token's or a request's `authorization_details` says. */
export interface Details {
  readonly documents: readonly CollectionNarrowing[]
  /** At most one. A request may hold it only where a token that holds it is shown. */
  readonly grants: readonly PresentedGrant[]
  readonly others: readonly ForeignDetail[]
}

/** The type of a detail that narrows to collections or presents a grant. */
export const ownDetailType = 'document_access'
/** Nobody else's API has a type of these names: it would be read as ours. */
export const ownDetailTypes: readonly string[] = [ownDetailType, 'vault_call']
/** Whether a type of detail is ours. */
export const isOwnType = (type: string): boolean => ownDetailTypes.includes(type)
/** Entries of one `authorization_details`. */
export const detailsMax = 10
const bytesMax = 2_048
const depthMax = 5
const nameMax = 100

/** Whether a text may name a type of detail: 1 to 100 plain characters. */
export const isDetailType = (type: string): boolean => /^[A-Za-z][A-Za-z0-9._:/-]{0,99}$/.test(type)

const foreign = z.custom<ForeignDetail>(isForeignDetail, `is no detail of at most ${bytesMax} bytes`)

const detailList = z
  .array(z.union([collectionNarrowing, grantDetail, foreign]))
  .max(detailsMax)
  // Two would leave open whether the second widens or narrows the first.
  .refine((list) => list.filter(({ type }) => isOwnType(type)).length <= 1)

/**
 * Splits details into ours and those of others. Absent: none at all. NOT checked: which API knows which type.
 */
export function detailsOf(value: unknown): Result<Details, 'bad_details'> {
  const parsed = detailList.safeParse(value === undefined ? [] : value)
  if (!parsed.success) return refuse('bad_details')
  const ownDetails = parsed.data.filter((detail) => !isForeignDetail(detail))
  return ok({
    documents: ownDetails.flatMap((detail) => collectionNarrowing.safeParse(detail).data ?? []),
    grants: ownDetails.flatMap((detail) => grantDetail.safeParse(detail).data ?? []),
    others: parsed.data.filter(isForeignDetail),
  })
}

/**
 * Whether it can be shown to a person exactly as it is granted: small, shallow, and without characters that
 * make a text look like another one.
 */
export function isForeignDetail(value: unknown): value is ForeignDetail {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return false
  if (!('type' in value) || typeof value.type !== 'string' || !isDetailType(value.type)) return false
  if (isOwnType(value.type) || !isPlain(value, depthMax)) return false
  if ('locations' in value && !isLocations(value.locations)) return false
  return Buffer.byteLength(JSON.stringify(value)) <= bytesMax
}

const isLocations = (value: unknown): boolean =>
  Array.isArray(value) && value.length > 0 && value.every((element) => typeof element === 'string')

function isPlain(value: unknown, depth: number): boolean {
  if (typeof value === 'string') return hasPlainCharacters(value)
  if (typeof value === 'number') return Number.isFinite(value)
  if (typeof value === 'boolean' || value === null) return true
  if (typeof value !== 'object' || depth === 0) return false
  if (Array.isArray(value)) return value.every((element) => isPlain(element, depth - 1))
  return Object.entries(value).every(
    ([name, member]) =>
      // It would be a member for one reader and the prototype for another.
      name !== '__proto__' && name.length <= nameMax && isPlain(name, 0) && isPlain(member, depth - 1),
  )
}

/** One text for equal JSON values, whatever the order of their members (in the manner of RFC 8785). */
export function canonicalJson(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(canonicalJson).join(',')}]`
  if (typeof value !== 'object' || value === null) return JSON.stringify(value)
  const members = Object.entries(value)
    // As JSON.stringify does: left out and undefined are one.
    .filter(([, member]) => member !== undefined)
    .sort(([a], [b]) => (a < b ? -1 : 1))
  return `{${members.map(([name, member]) => `${JSON.stringify(name)}:${canonicalJson(member)}`).join(',')}}`
}

/** One text for equal JSON values, of 43 characters: SHA-256 in base64url. */
export const digestOfJson = (value: unknown): string =>
  createHash('sha256').update(canonicalJson(value)).digest('base64url')

/**
 * The held details that are asked for, as they were granted; undefined where one is not among them. We do not
 * know what a member of another's detail means, so that any difference at all may be more.
 */
export function coveredDetails(
  requested: readonly ForeignDetail[],
  grantedDetails: readonly ForeignDetail[],
): readonly ForeignDetail[] | undefined {
  const grantedByJson = new Map(grantedDetails.map((detail) => [canonicalJson(detail), detail]))
  const found = new Set(requested.map((detail) => grantedByJson.get(canonicalJson(detail))))
  return found.has(undefined) ? undefined : [...found].filter((detail) => detail !== undefined)
}

/** Whether a detail is meant for this API: its type is known there, and it names no other. */
export function isDetailFor(
  { type, locations }: ForeignDetail,
  api: { readonly resource: string; readonly authorizationDetailsTypes: readonly string[] },
): boolean {
  return api.authorizationDetailsTypes.includes(type) && (locations?.includes(api.resource) ?? true)
}
