import type { Clock } from '../../kernel/clock.ts'
import type { Sql } from '../../store/sql.ts'

/** What one consent stands for, by the grant id that its tokens carry. */
export interface GrantLink {
  readonly grantId: string
  readonly clientId: string
  /** Account key, `anne`. */
  readonly subject: string
  /** Present for an agent's client. */
  readonly delegation: string | undefined
  readonly signedInAt: Date
  /** How they proved who they are (RFC 8176). */
  readonly amr: readonly string[]
  readonly expiresAt: Date
}

export interface GrantLinks {
  save(link: GrantLink): Promise<void>
  get(grantId: string): Promise<GrantLink | undefined>
  /** Drops those that are over, and returns how many. */
  sweep(): Promise<number>
}

export function createGrantLinks({ sql, clock }: { readonly sql: Sql; readonly clock: Clock }): GrantLinks {
  return {
    async save({ grantId, clientId, subject, delegation, signedInAt, amr, expiresAt }) {
      await sql.query(
        `insert into oauth_grants (grant_id, client_id, subject, delegation, signed_in_at, amr, expires_at)
         values ($1, $2, $3, $4, $5, $6, $7)`,
        [grantId, clientId, subject, delegation ?? null, signedInAt, amr, expiresAt],
      )
    },
    async get(grantId) {
      const rows = await sql.query<GrantRow>(
        `select grant_id, client_id, subject, delegation, signed_in_at, amr, expires_at
         from oauth_grants where grant_id = $1`,
        [grantId],
      )
      return rows.map((row) => ({
        grantId: row.grant_id,
        clientId: row.client_id,
        subject: row.subject,
        delegation: row.delegation ?? undefined,
        signedInAt: row.signed_in_at,
        amr: row.amr,
        expiresAt: row.expires_at,
      }))[0]
    },
    async sweep() {
      const rows = await sql.query('delete from oauth_grants where expires_at < $1 returning grant_id', [
        new Date(clock.now()),
      ])
      return rows.length
    },
  }
}

interface GrantRow {
  readonly grant_id: string
  readonly client_id: string
  readonly subject: string
  readonly delegation: string | null
  readonly signed_in_at: Date
  readonly amr: string[]
  readonly expires_at: Date
}
