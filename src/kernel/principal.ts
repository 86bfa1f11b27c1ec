import { type FgaObject, splitObject } from './ids.ts'

/** What kind of client made the request; decides which scopes it may hold at all. */
export type PrincipalKind = 'person' | 'agent' | 'service'

/** A scope of an access token. */
export type Scope =
  | 'docs.search'
  | 'docs.read'
  | 'docs.write'
  | 'directory.write'
  | 'approvals.request'
  | 'vault.use'
  | 'agents.write'
  | 'security.read'
  | 'security.write'

/** RFC 9396 detail `document_access`, form `{collections}`: reads only what is filed there. */
export interface CollectionNarrowing {
  readonly type: 'document_access'
  readonly collections: readonly string[]
}

/**
 * Who a request is for and who makes it. Made from a verified token only, never from a body.
 * `subject` keeps the person's own permissions; `actors` can only narrow them.
 */
export interface Principal {
  readonly kind: PrincipalKind
  /** The OpenFGA user: `user:anne`, `user:namespace/key`, or `service:NAME` for a program of its own. */
  readonly subject: FgaObject
  /**
   * Agents, outermost (the one that speaks now) first: `agent:research-bot`. Empty for a person or a service.
   */
  readonly actors: readonly FgaObject[]
  /** OAuth client id. */
  readonly client: string
  readonly scopes: ReadonlySet<Scope>
  readonly authorizationDetails: readonly CollectionNarrowing[]
  /** Id of the live delegation whose row was checked against this token. Present iff there is an actor. */
  readonly delegation?: string
  /**
   * Grant of an approval that the token presents, `g_…`, as the token names it: whether it counts for this
   * agent, delegation and question is for its row to say, on every use.
   */
  readonly grant?: string
  /** Id of the grant family of the token, for revocation. */
  readonly grantId?: string
  /**
   * Thumbprint of the key that the token is bound to, where it is: whoever shows it proves that key (RFC
   * 9449).
   */
  readonly boundTo?: string
  /** Digest of the keys by which a service's client of our own proves itself now. */
  readonly clientKeys?: string
  /** Thread through every record of this action. */
  readonly txn: string
  /** The MCP tool by which it is asked, for the record. Of no token, and decides nothing. */
  readonly tool?: string
  /** Seconds since the epoch at which the person signed in, where the issuer says so. */
  readonly authTime?: number
  /** Seconds since the epoch at which the token ends. */
  readonly expiresAt: number
}

/** The agent that speaks now, if any. */
export const outermostActor = ({ actors }: Pick<Principal, 'actors'>): FgaObject | undefined => actors[0]

/** The agent that speaks now, by its id alone: `research-bot`. */
export function agentOf(principal: Pick<Principal, 'actors'>): string | undefined {
  const actor = outermostActor(principal)
  return actor && splitObject(actor).id
}

/** The same caller in another action. */
export function inAction(principal: Principal, txn: string): Principal {
  const ownPrincipal = { ...principal, txn }
  callers.set(ownPrincipal, callerOf(principal))
  return ownPrincipal
}

/**
 * Who a principal is in all of their actions: one object for as long as their token is known, so that what is
 * worked out of it need not be worked out anew for each. For nothing that rests on `txn`.
 */
export const callerOf = (principal: Principal): Principal => callers.get(principal) ?? principal

const callers = new WeakMap<Principal, Principal>()
