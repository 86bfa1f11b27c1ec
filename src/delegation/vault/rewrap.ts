import { type RecordActor, record } from '../../audit/record.ts'
import { AppError } from '../../kernel/errors.ts'
import type { Database, Sql } from '../../store/sql.ts'
import type { Envelope } from './envelope.ts'
import { NotUnwrapped, type WrappedKey } from './keys.ts'
import { type ConnectionRow, encryptionContextOf, keyOf } from './rows.ts'

/**
 * Accounts of one provider in one state whose data keys are wrapped by one version of the key. Nobody's name.
 */
export interface KeyCount {
  readonly provider: string
  readonly state: 'live' | 'needs_reconnect'
  readonly version: string
  readonly accounts: number
}

/** What a rewrap did, and what it left for the next run. */
export interface RewrapReport {
  /** The current version. */
  readonly to: string
  readonly rewrapped: number
  /**
   * Still wrapped by another one: unreadable, or sealed meanwhile by a process that has another current one.
   */
  readonly left: number
}

/** Keys by which connections are sealed: counted, and rewrapped to the current one. */
export interface VaultKeyring {
  counts(): Promise<KeyCount[]>
  /**
   * Wraps every data key by the current version; what is sealed stays as it is, and no provider is asked. May
   * end at any line and be run again, beside refreshes and beside itself: a row that changed since it was
   * read is left as it is. Throws `conflict`, with nothing changed, where accounts in use are sealed by a key
   * that is not here.
   */
  rewrap(recordedAs: RecordActor): Promise<RewrapReport>
}

export interface VaultKeyringDeps {
  readonly database: Database
  readonly envelope: Envelope
}

const batchMax = 100
// Of each version: one row that somebody broke must not look like a key that is gone.
const samplesMax = 3

/** Rewraps in batches; a run that was cut off goes on at the next. */
export function createVaultKeyring({ database, envelope }: VaultKeyringDeps): VaultKeyring {
  const { currentVersion } = envelope

  /** Undefined: it cannot be read, and stays as it is. */
  async function wrappedAnew(row: WrappedRow): Promise<WrappedKey | undefined> {
    try {
      return await envelope.rewrap(encryptionContextOf(row), keyOf(row))
    } catch (error) {
      if (error instanceof NotUnwrapped) return undefined
      throw error
    }
  }

  /** How many were written, on record with them. */
  async function batch(rows: readonly WrappedRow[], recordedAs: RecordActor): Promise<number> {
    // Before the transaction: a key management service takes its time, and refreshes would wait.
    const anew: { readonly row: WrappedRow; readonly key: WrappedKey }[] = []
    for (const row of rows) {
      const key = await wrappedAnew(row)
      if (key !== undefined) anew.push({ row, key })
    }
    return database.transaction(async (sql) => {
      let rewrapped = 0
      for (const { row, key } of anew) {
        const written = await sql.query(
          `update connections set wrapped_key = $3, key_version = $4
           where id = $1 and wrapped_key = $2 and state <> 'ended' returning id`,
          [row.id, row.wrapped_key, key.bytes, key.version],
        )
        rewrapped += written.length
      }
      if (rewrapped > 0)
        await record(sql, recordedAs, { event: 'data_keys_rewrapped', to: currentVersion, rewrapped })
      return rewrapped
    })
  }

  return {
    counts: () =>
      database.query<KeyCount & { readonly accounts: number }>(
        `select provider, state, key_version as version, count(*)::int as accounts from connections
         where state <> 'ended' group by provider, state, key_version order by provider, state, key_version`,
      ),
    async rewrap(recordedAs) {
      const missing = await missingKeys(database, envelope)
      if (missing.length > 0)
        throw new AppError('conflict', { public: `Nothing was changed: ${missingKeysText(missing)}.` })
      let rewrapped = 0
      let afterId = ''
      for (;;) {
        const rows = await database.query<WrappedRow>(
          `select ${columns} from connections where state <> 'ended' and key_version <> $1 and id > $2
           order by id limit ${batchMax}`,
          [currentVersion, afterId],
        )
        const lastRow = rows.at(-1)
        if (lastRow === undefined) break
        rewrapped += await batch(rows, recordedAs)
        afterId = lastRow.id
      }
      const [remaining] = await database.query<{ left: number }>(
        `select count(*)::int as left from connections where state <> 'ended' and key_version <> $1`,
        [currentVersion],
      )
      return { to: currentVersion, rewrapped, left: remaining?.left ?? 0 }
    },
  }
}

type WrappedRow = Pick<ConnectionRow, 'id' | 'subject' | 'wrapped_key' | 'key_version'>
const columns = 'id, subject, wrapped_key, key_version'

/** A key that sealed accounts in use and does not open them here. */
export interface MissingKey {
  readonly version: string
  /** In use, sealed by it. */
  readonly accounts: number
}

/** Keys by which accounts in use are sealed, and that are not here, or are others of the same name. */
export async function missingKeys(sql: Sql, envelope: Envelope): Promise<MissingKey[]> {
  const samples = await sql.query<WrappedRow & MissingKey>(
    `select ${columns}, key_version as version, accounts from (
       select *, row_number() over (partition by key_version order by id) as place,
         (count(*) over (partition by key_version))::int as accounts
       from connections where state = 'live') as c
     where place <= ${samplesMax} order by key_version, id`,
  )
  const byVersion = Map.groupBy(samples, ({ version }) => version)
  const missing: MissingKey[] = []
  for (const [version, rows] of byVersion) {
    const opened = await Promise.all(rows.map((row) => envelope.opens(encryptionContextOf(row), keyOf(row))))
    if (!opened.includes(true)) missing.push({ version, accounts: rows[0]?.accounts ?? 0 })
  }
  return missing
}

/** One clause for each key, for a log or an error. */
export const missingKeysText = (missing: readonly MissingKey[]): string =>
  missing
    .map(({ version, accounts }) => `${accounts} accounts are sealed by a key ${version} that is not here`)
    .join('; ')

/**
 * Whoever lost a key has these accounts connected once more: those in use that it sealed and that do not open
 * are marked, each on record, and nothing of them is deleted. Returns how many.
 */
export async function markUnreadable(
  { database, envelope }: VaultKeyringDeps,
  versions: readonly string[],
  recordedAs: RecordActor,
): Promise<number> {
  if (versions.length === 0) return 0
  const rows = await database.query<WrappedRow & Pick<ConnectionRow, 'provider' | 'account'>>(
    `select ${columns}, provider, account from connections where state = 'live' and key_version = any($1) order by id`,
    [versions],
  )
  let count = 0
  for (const row of rows) {
    if (await envelope.opens(encryptionContextOf(row), keyOf(row))) continue
    const { id: connection, provider, account, subject: user } = row
    count += await database.transaction(async (sql) => {
      const marked = await sql.query(
        `update connections set state = 'needs_reconnect', lease = lease + 1, leased_until = null
         where id = $1 and wrapped_key = $2 and state = 'live' returning id`,
        [connection, row.wrapped_key],
      )
      if (marked.length > 0)
        await record(sql, recordedAs, { event: 'connection_broken', connection, provider, account, user })
      return marked.length
    })
  }
  return count
}
