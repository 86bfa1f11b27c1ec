/**
 * An `error` of somebody else's answer as it may stand in a log: a code of the protocols that are spoken here, else
 * `other`. Where an answer echoes what it was asked, a token may stand in it. RFC 6749 §4.1.2.1 and §5.2, 6750 §3.1,
 * 7009 §2.2.1, 8628 §3.5, 8693 §2.2.2, 8707 §2, 9449 §5 and §8, OpenID Connect Core §3.1.2.6; and GitHub's own.
 */
export const knownError = (error: string): string => (knownErrors.has(error) ? error : 'other')

const knownErrors: ReadonlySet<string> = new Set([
  'access_denied',
  'account_selection_required',
  'authorization_pending',
  'bad_refresh_token',
  'bad_verification_code',
  'consent_required',
  'expired_token',
  'incorrect_client_credentials',
  'insufficient_scope',
  'interaction_required',
  'invalid_client',
  'invalid_dpop_proof',
  'invalid_grant',
  'invalid_request',
  'invalid_scope',
  'invalid_target',
  'invalid_token',
  'login_required',
  'redirect_uri_mismatch',
  'server_error',
  'slow_down',
  'temporarily_unavailable',
  'unauthorized_client',
  'unsupported_grant_type',
  'unsupported_response_type',
  'unsupported_token_type',
  'unverified_user_email',
  'use_dpop_nonce',
])
