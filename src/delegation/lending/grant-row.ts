import type { FgaObject } from '../../kernel/ids.ts'
import type { VaultCall } from '../vault/call.ts'

/** The only ones to whom an offer or a grant means anything: this person, this agent, this delegation. */
export interface GrantHolder {
  /** `user:anne` */
  readonly subject: FgaObject
  /** `research-bot`: the outermost actor, no other. */
  readonly agent: string
  readonly delegation: string
}

/**
 * A person's yes to exactly this: the row that decides, and tuples that OpenFGA reads while the grant is
 * presented. Not to be taken for a `GrantLink`, which is the consent that an OAuth client holds.
 */
export interface ApprovalGrant extends GrantHolder {
  /** `g_…` */
  readonly id: string
  /** The question that it answers, `ap_…`. */
  readonly approval: string
  /**
   * Documents; of a remembered one folders or collections, later documents included; none of a vault call.
   */
  readonly objects: readonly FgaObject[]
  /** Counts for the question with this digest alone, once. */
  readonly queryHmac: string | undefined
  /** Counts for this call alone. */
  readonly vaultCall: VaultCall | undefined
  readonly until: Date
  /** undefined: as often as wanted. */
  readonly maxUses: number | undefined
  readonly used: number
  /** The service presents it by itself, asked or not. */
  readonly remembered: boolean
  readonly state: 'preparing' | 'live' | 'ended'
}

/** The columns of an {@link ApprovalGrant}, as its members are named. A call is kept as `vaultCallText` writes it. */
export const grantColumns = `id, approval, subject, agent, delegation, objects, query_hmac as "queryHmac",
  case when vault_call is not null then jsonb_strip_nulls(jsonb_build_object(
    'connection', vault_call::jsonb -> 'connection', 'method', vault_call::jsonb -> 'method',
    'path', vault_call::jsonb -> 'path', 'contentType', vault_call::jsonb -> 'content_type',
    'bodyDigest', vault_call::jsonb -> 'body_digest')) end as "vaultCall",
  expires_at as "until", max_uses as "maxUses", used, remembered, state`
