import { errors } from 'oidc-provider'

type Members = Readonly<Record<string, unknown>>

// CIBA §7.1.1.
const required = ['iss', 'aud', 'exp', 'iat', 'nbf', 'jti']
// RFC 9101 §4 names one, most libraries send `JWT` or none.
const requestTypes = ['jwt', 'oauth-authz-req+jwt']
/** Seconds from its `nbf` to its `exp`, and to now (FAPI 1.0 Advanced §5.2.2, 13 and 17). */
const lifetimeMax = 3_600

/**
 * Whether a JWT says that it is one of these, or says nothing; media types are written in either form and
 * case.
 */
export const isTypeOf = (types: readonly string[], typ: unknown): boolean =>
  typ === undefined ||
  (typeof typ === 'string' && types.includes(typ.toLowerCase().replace(/^application\//, '')))

/**
 * What a signed authentication request has to be beyond what the library sees to: signature, algorithm,
 * issuer, audience, and that it is not over. NOT checked: that its `jti` is new. Only its own client can send
 * it, whose assertion of who it is is good once.
 */
export function assertSignedRequest(claims: Members, { typ }: Members, now: number): void {
  const refuse = (reason: string) => new errors.InvalidRequestObject(`the signed request ${reason}`)
  if (!isTypeOf(requestTypes, typ)) throw refuse('is a JWT of another type')
  const missing = required.filter((name) => claims[name] === undefined)
  if (missing.length > 0) throw refuse(`lacks ${missing.join(', ')}`)
  // With a subject it could be shown as an assertion of who its client is, by whoever saw it (RFC 9101
  // §10.8).
  if (claims['sub'] !== undefined) throw refuse('has a subject')
  const nbf = Number(claims['nbf'])
  if (!(nbf >= now / 1_000 - lifetimeMax)) throw refuse('is more than an hour old')
  if (!(Number(claims['exp']) - nbf <= lifetimeMax)) throw refuse('lives longer than an hour')
}

// RFC 7523 names none, most libraries send `JWT`, and its successor asks for the last.
const assertionTypes = ['jwt', 'client-authentication+jwt']

/**
 * Refuses a client's assertion (RFC 7523 §2.2) that says it is something else: one key may sign more than
 * assertions, and an agent's `actor_token` has the same issuer, subject and audience where client and agent
 * share an id. Whoever is shown that token, the agent's host, could be the agent's own client. The library
 * checks everything but the type.
 */
export function assertIsAssertion({ typ }: { readonly typ?: unknown }): void {
  if (!isTypeOf(assertionTypes, typ)) throw new errors.InvalidClientAuth('the assertion is of another type')
}
