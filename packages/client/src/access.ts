/** One agent of the chain, as the token names it. */
export interface Actor {
  readonly issuer: string
  readonly subject: string
}

/** One of the token's `authorization_details` (RFC 9396). */
export interface Detail {
  readonly type: string
  readonly [member: string]: unknown
}

/** Who a request is for, who makes it, and what exactly it may do. */
export interface Access {
  /** The person, at the issuer. */
  readonly subject: string
  /** Agents that act, outermost (the one that speaks now) first; at least one. */
  readonly actors: readonly [Actor, ...Actor[]]
  /** OAuth client id of the program that holds the token. */
  readonly client: string
  /** Opaque id of what was lent to the agent. */
  readonly delegation: string
  /** Opaque id of the one consent that all this comes of, however often the person lends; undefined where none is known. */
  readonly grant: string | undefined
  /** Thread through every record of this action, at the issuer and here. */
  readonly txn: string | undefined
  readonly scopes: readonly string[]
  /** Empty: the scopes alone say what may be done. */
  readonly details: readonly Detail[]
  readonly tokenId: string
  /** Seconds since the epoch. */
  readonly expiresAt: number
  /** Thumbprint of the key that the token is bound to; its proof was checked. */
  readonly boundTo: string | undefined
}

const chainMax = 4
const detailsMax = 20

/** `act`, outermost first (RFC 8693 §4.1). Undefined: nobody acts, or a link does not say who it is. */
export function actorsOf(act: unknown): Access['actors'] | undefined {
  const chain: Actor[] = []
  let link = act
  while (link !== undefined) {
    if (!isObject(link) || !isWord(link['iss']) || !isWord(link['sub']) || chain.length === chainMax)
      return undefined
    chain.push({ issuer: link['iss'], subject: link['sub'] })
    link = link['act']
  }
  const [outermost, ...inner] = chain
  return outermost === undefined ? undefined : [outermost, ...inner]
}

/** Undefined: not a list of details. */
export function detailsOf(claim: unknown): readonly Detail[] | undefined {
  if (claim === undefined) return []
  if (!Array.isArray(claim) || claim.length > detailsMax) return undefined
  const all: readonly unknown[] = claim
  return all.every(isDetail) ? all : undefined
}

export const isWord = (value: unknown): value is string =>
  typeof value === 'string' && value !== '' && value.length <= 1_024

export const isObject = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

const isDetail = (value: unknown): value is Detail => isObject(value) && isWord(value['type'])
