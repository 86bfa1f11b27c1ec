/** Why a request is refused: the `error` of its `WWW-Authenticate` challenge, or of its body. */
export type RefusalCode =
  | 'missing_token'
  | 'invalid_token'
  | 'invalid_dpop_proof'
  | 'insufficient_scope'
  | 'actor_unauthorized'
  | 'access_denied'
  | 'already_used'
  | 'temporarily_unavailable'

/**
 * Why a request is not let through: plain data, to be sent as it is. Says nothing about the token's content.
 */
export interface Refusal {
  readonly status: 401 | 403 | 503
  readonly error: RefusalCode
  readonly error_description: string
  /** Response headers that belong to it: `www-authenticate` (RFC 6750, 9449, 9728), or `retry-after`. */
  readonly headers: Readonly<Record<string, string>>
}

/** A value, or the refusal to answer the request with. */
export type Outcome<T> =
  | { readonly ok: true; readonly value: T }
  | { readonly ok: false; readonly refusal: Refusal }

/** Builds refusals for one API. */
export interface Challenges {
  refuse(error: RefusalCode, description: string): { readonly ok: false; readonly refusal: Refusal }
}

/** What each challenge of one API names. */
export interface ChallengeOptions {
  readonly metadataUrl: string
  /** The complete set that the API needs. */
  readonly scopes: readonly string[]
  /** Signature algorithms for proofs; undefined: proofs are not taken. */
  readonly proofAlgorithms: readonly string[] | undefined
}

const statuses: Readonly<Record<RefusalCode, Refusal['status']>> = {
  missing_token: 401,
  invalid_token: 401,
  invalid_dpop_proof: 401,
  insufficient_scope: 403,
  actor_unauthorized: 403,
  access_denied: 403,
  already_used: 403,
  temporarily_unavailable: 503,
}

/**
 * Makes refusals with the challenge that each is to carry. Descriptions are ours: nothing of a caller is
 * quoted.
 */
export function createChallenges({ metadataUrl, scopes, proofAlgorithms }: ChallengeOptions): Challenges {
  const common = {
    ...(scopes.length > 0 && { scope: scopes.join(' ') }),
    resource_metadata: metadataUrl,
  }
  const challenge = (scheme: string, members: Readonly<Record<string, string>>): string =>
    `${scheme} ${Object.entries(members)
      .map(([name, value]) => `${name}="${value}"`)
      .join(', ')}`

  function headersOf(error: RefusalCode): Readonly<Record<string, string>> {
    if (error === 'temporarily_unavailable') return { 'retry-after': '1' }
    if (error === 'access_denied' || error === 'already_used') return {}
    // RFC 6750 §3.1: who sent nothing is told what to bring, not that it was wrong.
    const members = error === 'missing_token' ? common : { error, ...common }
    const bearer = challenge('Bearer', members)
    if (proofAlgorithms === undefined) return { 'www-authenticate': bearer }
    const proof = challenge('DPoP', { ...members, algs: proofAlgorithms.join(' ') })
    return { 'www-authenticate': error === 'invalid_dpop_proof' ? proof : `${bearer}, ${proof}` }
  }

  return {
    refuse: (error, description) => ({
      ok: false,
      refusal: { status: statuses[error], error, error_description: description, headers: headersOf(error) },
    }),
  }
}
