import { isId } from '@remit/contract/id'
import { z } from 'zod'
import type { Scope } from '../../kernel/principal.ts'
import { ok, type Result, refuse } from '../../kernel/result.ts'

const seconds = z.number().nonnegative().max(1e11)
const shortText = z.string().min(1).max(1_024)

/**
 * Claims of an access token (RFC 9068) of which the signature, type and audience have been checked. Members
 * that we do not know are ignored, as RFC 7519 asks; members that we know must have their form.
 */
const accessTokenClaims = z.looseObject({
  iss: shortText,
  sub: shortText,
  aud: z.union([z.string(), z.array(z.string())]),
  exp: seconds,
  iat: seconds,
  nbf: seconds.optional(),
  jti: shortText,
  client_id: shortText.optional(),
  azp: shortText.optional(),
  scope: z.string().max(4_096).default(''),
  auth_time: seconds.optional(),
  amr: z.array(shortText).max(20).optional(),
  sub_profile: z.string().optional(),
  act: z.unknown().optional(),
  authorization_details: z.unknown().optional(),
  // Who the subject is at another issuer, and by which of its tokens. Only our own tokens say so.
  upstream: z.strictObject({ iss: shortText, sub: shortText, jti: shortText.optional() }).optional(),
  delegation: shortText.optional(),
  grant_id: shortText.optional(),
  txn: z.string().optional(),
  demo: z.unknown().optional(),
  // A key that the holder proves on every request (RFC 9449 §6.1). Other ways of proving are refused: nobody
  // here checks them.
  cnf: z.strictObject({ jkt: z.string().regex(/^[\w-]{43}$/) }).optional(),
})

/** Claims of an access token whose shapes were checked, and nothing else. */
export type Claims = z.output<typeof accessTokenClaims>

/** Checks shapes only. NOT checked: issuer, audience, time, signature. */
export function parseClaims(payload: object): Result<Claims, 'missing_claim' | 'bad_claim'> {
  const parsed = accessTokenClaims.safeParse(payload)
  if (parsed.success) return ok(parsed.data)
  const name = String(parsed.error.issues[0]?.path[0] ?? '')
  return refuse(Object.hasOwn(payload, name) ? 'bad_claim' : 'missing_claim', name)
}

/** Exactly one audience, by exact string; several would make the token good elsewhere too. */
export function isFor(aud: Claims['aud'], audience: string): boolean {
  return typeof aud === 'string' ? aud === audience : aud.length === 1 && aud[0] === audience
}

/** One link of an actor chain, as a token names it. */
export interface ActorClaim {
  readonly iss: string
  readonly sub: string
}

/** Links of an actor chain. */
export const chainMax = 4
const actor = z.looseObject({
  iss: shortText,
  sub: shortText,
  sub_profile: z.string().optional(),
  act: z.unknown().optional(),
})

/**
 * The chain of an `act` claim, outermost first; each link must name its issuer. Empty for no claim at all.
 */
export function actorChain(claims: Claims): Result<readonly ActorClaim[], 'bad_actor' | 'chain_too_long'> {
  const chain: ActorClaim[] = []
  let holder: { readonly act?: unknown } = claims
  while (Object.hasOwn(holder, 'act')) {
    const parsed = actor.safeParse(holder.act)
    if (!parsed.success) return refuse('bad_actor')
    if (chain.length === chainMax) return refuse('chain_too_long')
    chain.push({ iss: parsed.data.iss, sub: parsed.data.sub })
    holder = parsed.data
  }
  return ok(chain)
}

/** The form of `document_access` that narrows. */
export const collectionNarrowing = z.strictObject({
  type: z.literal('document_access'),
  collections: z.array(z.string().refine(isId)).min(1).max(100),
})

/**
 * In a token: presents what a person agreed to, and widens nothing by itself. Of one call to a third party,
 * or of documents.
 */
export const grantDetail = z.strictObject({
  type: z.enum(['document_access', 'vault_call']),
  grant: z.string().regex(/^g_[A-Za-z0-9_-]{1,100}$/),
})

/** The scopes of a token; none where the claim is absent. */
export const scopesOf = (claims: Claims): readonly string[] =>
  claims.scope.split(' ').filter((scope) => scope !== '')

const holdable = {
  person: ['docs.search', 'docs.read', 'agents.write', 'security.read', 'security.write'],
  agent: ['docs.search', 'docs.read', 'approvals.request', 'vault.use'],
  service: ['docs.write', 'directory.write'],
} as const satisfies Record<string, readonly Scope[]>

/**
 * What each kind of client may hold at all. Roles of administrators are asked for on each request besides.
 */
export const scopesOfKind: Readonly<Record<keyof typeof holdable, readonly Scope[]>> = holdable

/** Scopes that no token with an actor may even claim: an agent writes nothing and administers nothing. */
export const neverForActors: ReadonlySet<string> = new Set<Scope>([
  'docs.write',
  'directory.write',
  'agents.write',
  'security.read',
  'security.write',
])
