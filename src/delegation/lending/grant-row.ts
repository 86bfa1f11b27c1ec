import type { FgaObject } from '../../kernel/ids.ts'
import type { VaultCall } from '../vault/call.ts'

/**
 * A person's yes to exactly this: the row that decides, and tuples that OpenFGA reads while the grant is
 * presented. Not to be taken for a `GrantLink`, which is the consent that an OAuth client holds.
 */
export interface ApprovalGrant {
  /** `g_…` */
  readonly id: string
  /** The question that it answers, `ap_…`. */
  readonly approval: string
  /** `user:anne` */
  readonly subject: FgaObject
  /** `research-bot`: the outermost actor, no other. */
  readonly agent: string
  readonly delegation: string
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

/** A row of `approval_grants`, with the columns as SQL names them. */
export interface GrantRow {
  readonly id: string
  readonly approval: string
  readonly subject: FgaObject
  readonly agent: string
  readonly delegation: string
  readonly objects: FgaObject[]
  readonly query_hmac: string | null
  readonly vault_call: string | null
  readonly expires_at: Date
  readonly max_uses: number | null
  readonly used: number
  readonly remembered: boolean
  readonly state: ApprovalGrant['state']
}

/** The columns of a {@link GrantRow}, for a select. */
export const grantColumns =
  'id, approval, subject, agent, delegation, objects, query_hmac, vault_call, expires_at, max_uses, used, remembered, state'

/** Reads a row; checks nothing. */
export const grantOf = (row: GrantRow): ApprovalGrant => ({
  id: row.id,
  approval: row.approval,
  subject: row.subject,
  agent: row.agent,
  delegation: row.delegation,
  objects: row.objects,
  queryHmac: row.query_hmac ?? undefined,
  vaultCall: row.vault_call === null ? undefined : callOf(row.vault_call),
  until: row.expires_at,
  maxUses: row.max_uses ?? undefined,
  used: row.used,
  remembered: row.remembered,
  state: row.state,
})

function callOf(text: string): VaultCall {
  const call: CallJson = JSON.parse(text)
  return {
    connection: call.connection,
    method: call.method,
    path: call.path,
    ...(call.content_type !== null && { contentType: call.content_type }),
    ...(call.body_digest !== null && { bodyDigest: call.body_digest }),
  }
}

interface CallJson {
  readonly connection: string
  readonly method: string
  readonly path: string
  readonly content_type: string | null
  readonly body_digest: string | null
}
