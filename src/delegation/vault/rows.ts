import { z } from 'zod'
import type { FgaObject } from '../../kernel/ids.ts'
import type { Sql } from '../../store/sql.ts'
import type { EncryptionContext, SealedTokens } from './envelope.ts'
import type { WrappedKey } from './keys.ts'

/** A row of `connections` that has not ended. */
export interface ConnectionRow {
  readonly id: string
  readonly subject: FgaObject
  readonly provider: string
  readonly issuer: string
  readonly account: string
  readonly account_title: string
  readonly state: 'live' | 'needs_reconnect'
  readonly scopes: readonly string[]
  readonly sealed: string
  readonly wrapped_key: Uint8Array
  readonly key_version: string
  readonly token_expires_at: Date | null
  readonly refreshable: boolean
  readonly sealed_at: Date
  readonly lease: number
  readonly created_at: Date
}

/** The columns of a {@link ConnectionRow}, for a select. */
export const connectionColumns = `id, subject, provider, issuer, account, account_title, state, scopes, sealed, wrapped_key, key_version,
  token_expires_at, refreshable, sealed_at, lease, created_at`

/** Undefined for one that has ended, or never was. */
export async function readRow(sql: Sql, id: string): Promise<ConnectionRow | undefined> {
  const rows = await sql.query<ConnectionRow>(
    `select ${connectionColumns} from connections where id = $1 and state <> 'ended'`,
    [id],
  )
  return rows[0]
}

/** The context in which a row's tokens are sealed. */
export const encryptionContextOf = ({
  id,
  subject,
}: Pick<ConnectionRow, 'id' | 'subject'>): EncryptionContext => ({
  connection: id,
  subject,
})

/** The data key of a row, as it is wrapped. */
export const keyOf = ({
  wrapped_key: bytes,
  key_version: version,
}: Pick<ConnectionRow, 'wrapped_key' | 'key_version'>): WrappedKey => ({ bytes, version })

/** The sealed tokens of a row. */
export const sealedOf = (row: ConnectionRow): SealedTokens => ({ jwe: row.sealed, key: keyOf(row) })

const texts = z.array(z.string()).readonly()

/** Rules as they are kept. Throws for what is none: a rule that cannot be read allows nothing. */
export const ruleList = z
  .array(z.strictObject({ title: z.string(), methods: texts, paths: texts }))
  .readonly()
