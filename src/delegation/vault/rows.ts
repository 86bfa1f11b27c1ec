import { z } from 'zod'
import type { FgaObject } from '../../kernel/ids.ts'
import type { Sql } from '../../store/sql.ts'
import { digestOfJson } from '../registry/details.ts'
import type { EncryptionContext, SealedTokens } from './envelope.ts'
import type { WrappedKey } from './keys.ts'
import type { Provider } from './provider.ts'

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

/**
 * Of what a form shows beside agents: the provider as the settings have it, and the account if it is
 * connected already. Whoever agrees sends it back.
 */
export const digestOfPlace = (provider: Provider, account?: ConnectionRow): string =>
  digestOfJson({
    provider,
    ...(account && {
      account: [account.id, account.issuer, account.account, account.account_title],
      scopes: [...account.scopes].sort(),
    }),
  })

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

/**
 * The right to write one row, by its number, for {@link leaseMs}. A number that was passed on since (the
 * lease ran out and somebody took the next, or the connection was taken back or made anew) writes nothing any
 * more.
 */
export interface Lease {
  /** True once somebody else may ask the provider, by the age of the lease in this process. */
  isOver(): boolean
  /** False: it is not ours any more, and nothing was written. */
  write(sql: Sql, pair: NewPair): Promise<boolean>
  /** The provider refuses to refresh. False: not ours any more. */
  breakOff(sql: Sql): Promise<boolean>
  /** Nothing came of it: the next one may try at once. */
  giveBack(): Promise<void>
}

/** Tokens that a refresh gave, as they are stored. */
interface NewPair {
  readonly sealed: string
  readonly key: WrappedKey
  readonly tokenExpiresAt: Date | undefined
  readonly refreshable: boolean
  readonly scopes: readonly string[]
  readonly sealedAt: Date
}

/** Milliseconds: well over what a token endpoint may take. */
const leaseMs = 30_000

/**
 * Undefined while somebody else has it, or where the row is not as it was read. One statement, no open
 * transaction. For others the database's clock says when it is over: those of processes differ by more than
 * it lasts. `elapsed`: milliseconds, for ages.
 */
export async function takeLease(
  sql: Sql,
  { id, lease: seenLease }: Pick<ConnectionRow, 'id' | 'lease'>,
  elapsed: () => number,
): Promise<Lease | undefined> {
  // Before the statement: it is over here no later than for others.
  const takenAt = elapsed()
  const [row] = await sql.query<{ lease: number }>(
    `update connections set lease = lease + 1, leased_until = now() + make_interval(secs => $3)
     where id = $1 and lease = $2 and state = 'live' and (leased_until is null or leased_until <= now())
     returning lease`,
    [id, seenLease, leaseMs / 1_000],
  )
  if (row === undefined) return undefined
  const { lease } = row
  const isOurs = `id = $1 and lease = $2 and state = 'live'`
  return {
    isOver: () => elapsed() - takenAt >= leaseMs,
    async write(transaction, { sealed, key, tokenExpiresAt, refreshable, scopes, sealedAt }) {
      // The number passes on with it: whoever read the row while this was under way would else take the next
      // one with the pair before, which the provider does not take a second time.
      const written = await transaction.query(
        `update connections set sealed = $3, wrapped_key = $4, key_version = $5, token_expires_at = $6,
           refreshable = $7, scopes = $8, sealed_at = $9, lease = lease + 1, leased_until = null
         where ${isOurs} returning id`,
        [id, lease, sealed, key.bytes, key.version, tokenExpiresAt ?? null, refreshable, scopes, sealedAt],
      )
      return written.length > 0
    },
    async breakOff(transaction) {
      const broken = await transaction.query(
        `update connections set state = 'needs_reconnect', leased_until = null where ${isOurs} returning id`,
        [id, lease],
      )
      return broken.length > 0
    },
    async giveBack() {
      await sql.query(`update connections set leased_until = null where ${isOurs}`, [id, lease])
    },
  }
}
