import type { ErrorCode } from '@remit/contract/errors'

/**
 * Why a token was not accepted. For the operator's log and the tests; the caller sees only {@link
 * publicErrorOf}.
 */
export type VerifyReason =
  | 'malformed'
  | 'unknown_issuer'
  | 'wrong_algorithm'
  | 'wrong_type'
  | 'unknown_key'
  | 'keys_unavailable'
  | 'bad_signature'
  | 'wrong_audience'
  | 'expired'
  | 'not_yet_valid'
  | 'too_long_lived'
  | 'proof_missing'
  | 'proof_invalid'
  | 'proof_of_another_key'
  | 'nonce_needed'
  | 'not_bound'
  | 'missing_claim'
  | 'bad_claim'
  | 'bad_subject'
  | 'account_changed'
  | 'bad_details'
  | 'demo_token_refused'
  | 'demo_token_required'
  | 'revoked'
  | 'not_a_person'
  | 'unknown_service'
  | 'actor_missing'
  | 'actor_on_service'
  | 'actor_mismatch'
  | 'bad_actor'
  | 'actor_no_agent'
  | 'chain_too_long'
  | 'unknown_actor'
  | 'agent_disabled'
  | 'scope_for_actor'
  | 'delegation_missing'
  | 'delegation_unknown'
  | 'delegation_not_live'
  | 'delegation_mismatch'

/**
 * What the caller is told. 401 `invalid_token`: this token is no good, or not under `Bearer` (RFC 9449 §7.2);
 * `invalid_dpop_proof` and `use_dpop_nonce`: it may be, but whoever shows it did not prove its key. 403
 * `actor_unauthorized`: the token is sound, but who acts may not, or nobody says who acts. 503: the issuer's keys
 * cannot be had, so that nothing is known about the token; a refusal all the same.
 */
export function publicErrorOf(reason: VerifyReason): ErrorCode {
  switch (reason) {
    case 'malformed':
    case 'unknown_issuer':
    case 'wrong_algorithm':
    case 'wrong_type':
    case 'unknown_key':
    case 'bad_signature':
    case 'wrong_audience':
    case 'expired':
    case 'not_yet_valid':
    case 'too_long_lived':
    case 'not_bound':
    case 'proof_missing':
    case 'missing_claim':
    case 'bad_claim':
    case 'bad_subject':
    case 'account_changed':
    case 'bad_details':
    case 'demo_token_refused':
    case 'demo_token_required':
    case 'revoked':
      return 'invalid_token'
    case 'proof_invalid':
    case 'proof_of_another_key':
      return 'invalid_dpop_proof'
    case 'nonce_needed':
      return 'use_dpop_nonce'
    case 'not_a_person':
    case 'unknown_service':
    case 'actor_missing':
    case 'actor_on_service':
    case 'actor_mismatch':
    case 'bad_actor':
    case 'actor_no_agent':
    case 'chain_too_long':
    case 'unknown_actor':
    case 'agent_disabled':
    case 'scope_for_actor':
    case 'delegation_missing':
    case 'delegation_unknown':
    case 'delegation_not_live':
    case 'delegation_mismatch':
      return 'actor_unauthorized'
    case 'keys_unavailable':
      return 'authorization_unavailable'
  }
}
