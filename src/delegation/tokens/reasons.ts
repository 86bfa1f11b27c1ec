import type { ErrorCode } from '@remit/contract/errors'

/**
 * What the caller is told for each reason. 401 `invalid_token`: this token is no good, or not under `Bearer`
 * (RFC 9449 §7.2); `invalid_dpop_proof` and `use_dpop_nonce`: it may be, but whoever shows it did not prove
 * its key. 403 `actor_unauthorized`: the token is sound, but who acts may not, or nobody says who acts. 503:
 * the issuer's keys cannot be had, so that nothing is known about the token; a refusal all the same.
 */
const publicErrors = {
  malformed: 'invalid_token',
  unknown_issuer: 'invalid_token',
  wrong_algorithm: 'invalid_token',
  wrong_type: 'invalid_token',
  unknown_key: 'invalid_token',
  bad_signature: 'invalid_token',
  wrong_audience: 'invalid_token',
  expired: 'invalid_token',
  not_yet_valid: 'invalid_token',
  too_long_lived: 'invalid_token',
  not_bound: 'invalid_token',
  proof_missing: 'invalid_token',
  missing_claim: 'invalid_token',
  bad_claim: 'invalid_token',
  bad_subject: 'invalid_token',
  account_changed: 'invalid_token',
  bad_details: 'invalid_token',
  demo_token_refused: 'invalid_token',
  demo_token_required: 'invalid_token',
  revoked: 'invalid_token',
  proof_invalid: 'invalid_dpop_proof',
  proof_of_another_key: 'invalid_dpop_proof',
  nonce_needed: 'use_dpop_nonce',
  not_a_person: 'actor_unauthorized',
  unknown_service: 'actor_unauthorized',
  actor_missing: 'actor_unauthorized',
  actor_on_service: 'actor_unauthorized',
  actor_mismatch: 'actor_unauthorized',
  bad_actor: 'actor_unauthorized',
  actor_no_agent: 'actor_unauthorized',
  chain_too_long: 'actor_unauthorized',
  unknown_actor: 'actor_unauthorized',
  agent_disabled: 'actor_unauthorized',
  scope_for_actor: 'actor_unauthorized',
  delegation_missing: 'actor_unauthorized',
  delegation_unknown: 'actor_unauthorized',
  delegation_not_live: 'actor_unauthorized',
  delegation_mismatch: 'actor_unauthorized',
  keys_unavailable: 'authorization_unavailable',
} as const satisfies Record<string, ErrorCode>

/**
 * Why a token was not accepted. For the operator's log and the tests; the caller sees only {@link
 * publicErrorOf}.
 */
export type VerifyReason = keyof typeof publicErrors

/** What the caller is told. */
export const publicErrorOf = (reason: VerifyReason): ErrorCode => publicErrors[reason]
