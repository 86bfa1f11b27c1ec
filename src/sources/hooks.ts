import { createHmac, timingSafeEqual } from 'node:crypto'
import { type RecordActor, record } from '../audit/record.ts'
import { AppError } from '../kernel/errors.ts'
import type { Seal } from '../store/encryption.ts'
import type { Database } from '../store/sql.ts'
import { changeSource } from './change.ts'
import type { SourceRow } from './rows.ts'

/** What calls a hook: its body as it came, and the header that signs it. */
export interface HookCall {
  readonly body: Uint8Array
  /** `sha256=` and HMAC-SHA-256 of the body by the hook's secret, in small hexadecimal digits. */
  readonly signature: string | undefined
}

/**
 * By what the system of a source says that something changed there. A call wakes a reading and does nothing
 * else: nothing of its body is used. Does NOT check whether a call was made before: who repeats one wakes it
 * again, within what {@link isCalledSql} bounds.
 */
export interface SourceHooks {
  /**
   * Makes a hook, in place of the one before, and gives its secret, which is told this once. Throws
   * `not_found` for a source that is not there, `conflict` for one that is not read. Does NOT check who asks.
   */
  make(who: RecordActor, id: string): Promise<{ readonly source: SourceRow; readonly secret: string }>
  /** From now on no call counts. */
  end(who: RecordActor, id: string): Promise<SourceRow>
  /**
   * Whether the call counts. The same work where there is no such source, where it has no hook, and where the
   * signature is another one.
   */
  call(id: string, call: HookCall): Promise<boolean>
}

export interface SourceHooksDeps {
  readonly database: Database
  /** Makes secrets of salts: whoever has the database alone signs nothing. */
  readonly seal: Pick<Seal, 'hash'>
  /** Random, and long enough that nobody finds another one. */
  readonly newSalt: () => string
}

/** In Postgres. See {@link SourceHooks}. */
export function createSourceHooks({ database, seal, newSalt }: SourceHooksDeps): SourceHooks {
  const decoy = newSalt()
  const secretOf = (id: string, salt: string): string => seal.hash('source hook', `${id}\0${salt}`)
  return {
    async make(who, id) {
      const salt = newSalt()
      const source = await changeSource(database, id, async (sql, row) => {
        if (row.state !== 'active' && row.state !== 'paused')
          throw new AppError('conflict', { public: `This source is ${row.state}.` })
        await sql.query(
          `insert into source_hooks (source, salt) values ($1, $2)
           on conflict (source) do update set salt = excluded.salt, called_at = null`,
          [id, salt],
        )
        await record(sql, who, { event: 'source_hook_made', source: id })
      })
      return { source, secret: secretOf(id, salt) }
    },
    end: (who, id) =>
      changeSource(database, id, async (sql) => {
        await sql.query('delete from source_hooks where source = $1', [id])
        await record(sql, who, { event: 'source_hook_ended', source: id })
      }),
    async call(id, call) {
      const [hook] = await database.query<{ salt: string }>(
        'select salt from source_hooks where source = $1',
        [id],
      )
      const isSigned = isSignedBy(secretOf(id, hook?.salt ?? decoy), call)
      if (hook === undefined || !isSigned) return false
      // Each call: of two in one reading the later one may tell of what that has passed already.
      const rows = await database.query(
        'update source_hooks set called_at = now() where source = $1 and salt = $2 returning 1',
        [id, hook.salt],
      )
      return rows.length > 0
    },
  }
}

const digestBytes = 32

function isSignedBy(secret: string, { body, signature = '' }: HookCall): boolean {
  const expected = createHmac('sha256', secret).update(body).digest()
  const [, digits] = /^sha256=([0-9a-f]{64})$/.exec(signature) ?? []
  const givenDigest = digits === undefined ? new Uint8Array(digestBytes) : Buffer.from(digits, 'hex')
  return timingSafeEqual(expected, givenDigest) && digits !== undefined
}

// Between the end of a reading and the one that calls made meanwhile wake.
const calmSeconds = 5

/**
 * SQL that is true of a source `s` with a hook `h` that was called since its last reading began, or whose
 * last reading never ended. One at a time, some seconds apart, however often it is called; and no call ends
 * the pause after a failure, which the source may have asked for.
 */
export const isCalledSql = `coalesce(s.state = 'active' and s.failures = 0
  and h.called_at is not null and (h.called_at > s.began_at or s.began_at > s.ended_at)
  and s.ended_at <= now() - interval '${calmSeconds} seconds', false)`
