/**
 * Every event that the record knows, by which it can be asked for, in the order in which documents list them.
 */
export const eventNames = [
  'retrieved',
  'document_read',
  'collections_listed',
  'explained',
  'who_can_listed',
  'what_if_asked',
  'memberships_listed',
  'viewed_as',
  'record_read',
  'request_refused',
  'person_erased',
  'records_dropped',
  'access_changed',
  'document_accepted',
  'document_published',
  'document_withdrawn',
  'agent_saved',
  'agent_disabled',
  'agent_enabled',
  'person_disabled',
  'person_enabled',
  'client_saved',
  'client_removed',
  'host_disabled',
  'host_enabled',
  'collection_saved',
  'fields_saved',
  'delegation_made',
  'delegation_revoked',
  'grant_made',
  'grant_ended',
  'approval_asked',
  'approval_info_requested',
  'approval_answered',
  'approval_decided',
  'approval_expired',
  'agent_blocked',
  'agent_unblocked',
  'consented',
  'consent_refused',
  'consent_ended',
  'signed_in',
  'sign_in_failed',
  'signed_out',
  'user_verified',
  'passkey_added',
  'passkey_removed',
  'model_planned',
  'model_approved',
  'model_shadow_started',
  'model_shadow_ended',
  'model_shadow_read',
  'model_activated',
  'token_exchanged',
  'account_linked',
  'account_unlinked',
  'command',
  'command_failed',
  'recovered',
  'vault_call_begun',
  'vault_called',
  'connection_made',
  'connection_renewed',
  'connection_refreshed',
  'connection_broken',
  'connection_ended',
  'connection_used',
  'connection_agreed',
  'connection_agent_removed',
  'data_keys_rewrapped',
  'drift_mended',
] as const

/** `event` of every record. */
export type EventName = (typeof eventNames)[number]

/**
 * How it went, in one of four words for every event. `none`: nothing was decided, or there was nothing to
 * decide.
 */
export const decisions = ['allowed', 'denied', 'error', 'none'] as const

/** `decision` of every record. */
export type Decision = (typeof decisions)[number]
