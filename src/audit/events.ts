import type { DecisionEvent } from './decision-event.ts'

/** What an event is in others' words: what was done (OCSF's activities), and how much it matters from 0 to 10 (CEF). */
export interface EventKind {
  readonly title: string
  readonly activity: 'create' | 'read' | 'update' | 'delete' | 'other'
  readonly severity: number
}

const kind = (title: string, activity: EventKind['activity'], severity = 3): EventKind => ({
  title,
  activity,
  severity,
})

/** Every event that there is. Whoever adds one says here what it is. */
export const eventKinds: Readonly<Record<DecisionEvent['event'], EventKind>> = {
  retrieved: kind('Question answered', 'read'),
  document_read: kind('Document read', 'read'),
  collections_listed: kind('Collections listed', 'read', 1),
  explained: kind('Decision explained', 'read', 4),
  who_can_listed: kind('Readers listed', 'read', 4),
  what_if_asked: kind('What-if asked', 'read', 4),
  memberships_listed: kind('Memberships listed', 'read', 4),
  viewed_as: kind('Looked as somebody', 'read', 5),
  record_read: kind('Record read', 'read', 4),
  request_refused: kind('Request refused', 'other', 5),
  person_erased: kind('Person erased', 'delete', 6),
  records_dropped: kind('Records dropped', 'delete', 4),
  access_changed: kind('Access changed', 'update', 4),
  document_accepted: kind('Document accepted', 'create', 1),
  document_published: kind('Document published', 'create', 1),
  document_withdrawn: kind('Document withdrawn', 'delete', 3),
  agent_saved: kind('Agent saved', 'update', 5),
  agent_disabled: kind('Agent disabled', 'update', 7),
  host_disabled: kind('Host disabled', 'update', 7),
  host_enabled: kind('Host enabled', 'update', 6),
  collection_saved: kind('Collection saved', 'update', 4),
  fields_saved: kind('Fields saved', 'update', 3),
  delegation_made: kind('Delegation made', 'create', 4),
  delegation_revoked: kind('Delegation revoked', 'delete', 4),
  grant_made: kind('Grant made', 'create', 5),
  grant_ended: kind('Grant ended', 'delete', 3),
  approval_asked: kind('Approval asked for', 'create', 4),
  approval_info_requested: kind('Question to the agent', 'update', 2),
  approval_answered: kind('Answer of the agent', 'update', 2),
  approval_decided: kind('Approval decided', 'update', 5),
  approval_expired: kind('Approval expired', 'update', 2),
  agent_blocked: kind('Agent blocked', 'update', 6),
  agent_unblocked: kind('Agent unblocked', 'update', 4),
  consented: kind('Consented', 'create', 4),
  consent_refused: kind('Consent refused', 'other', 4),
  consent_ended: kind('Consent ended', 'delete', 3),
  signed_in: kind('Signed in', 'other', 2),
  sign_in_failed: kind('Sign-in failed', 'other', 5),
  signed_out: kind('Signed out', 'other', 1),
  user_verified: kind('Person verified', 'other', 2),
  passkey_added: kind('Passkey added', 'create', 6),
  passkey_removed: kind('Passkey removed', 'delete', 6),
  model_planned: kind('Model change planned', 'create', 5),
  model_approved: kind('Model change approved', 'update', 6),
  model_shadow_started: kind('Shadow model started', 'create', 5),
  model_shadow_ended: kind('Shadow model ended', 'update', 3),
  model_shadow_read: kind('Shadow report read', 'read', 4),
  model_activated: kind('Model activated', 'update', 8),
  token_exchanged: kind('Token exchanged', 'create', 2),
  account_linked: kind('Account linked', 'create', 5),
  account_unlinked: kind('Account unlinked', 'delete', 4),
  command: kind('Command at the machine', 'other', 5),
  recovered: kind('Recovered', 'update', 8),
  vault_call_begun: kind('Call to a third party begun', 'other', 3),
  vault_called: kind('Call to a third party', 'other', 4),
  connection_made: kind('Connection made', 'create', 4),
  connection_renewed: kind('Connection renewed', 'update', 3),
  connection_refreshed: kind('Connection refreshed', 'update', 1),
  connection_broken: kind('Connection broken', 'update', 5),
  connection_ended: kind('Connection ended', 'delete', 4),
  connection_used: kind('Connection used', 'read', 2),
  connection_agreed: kind('Agent let in', 'create', 4),
  connection_agent_removed: kind('Agent put out', 'delete', 4),
  data_keys_rewrapped: kind('Keys rewrapped', 'update', 5),
  drift_mended: kind('Drift repaired', 'update', 6),
}

export const eventNames = Object.keys(eventKinds) as readonly DecisionEvent['event'][]
