import { errors } from 'oidc-provider'
import { isTypeOf } from './ciba/signed-request.ts'

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
