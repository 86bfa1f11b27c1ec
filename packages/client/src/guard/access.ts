import type { Detail } from '../shared/detail.ts'
import { isObject, isWord } from '../shared/json.ts'

/** One agent of the chain, as the token names it. */
export interface Actor {
  readonly issuer: string
  readonly subject: string
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
  /**
   * Opaque id of the one consent that all this comes of, however often the person lends; undefined where none
   * is known.
   */
  readonly grant: string | undefined
  /** Thread through every record of this action, at the issuer and here. */
  readonly txn: string | undefined
  readonly scopes: readonly string[]
  /** Empty: the scopes alone say what may be done. */
  readonly details: readonly Detail[]
  /**
   * How the person had proven who they are (RFC 8176): `mfa` where they were verified by more than a
   * password. Empty where the issuer says nothing.
   */
  readonly amr: readonly string[]
  /** When they signed in for this, in seconds since the epoch; undefined where the issuer says nothing. */
  readonly authTime: number | undefined
  readonly tokenId: string
  /** Seconds since the epoch. */
  readonly expiresAt: number
  /** Thumbprint of the key that the token is bound to; its proof was checked. */
  readonly boundTo: string | undefined
}

const chainMax = 4

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
