import type { Clock } from '../../kernel/clock.ts'
import type { Database } from '../../store/sql.ts'
import { operator, record } from '../record.ts'
import { masked, type SealedRow, sealedColumns } from './canonical.ts'
import { ensureKeys } from './people.ts'

export interface Erased {
  readonly alias: string
  /** Records that named them. */
  readonly records: number
}

export interface EraseDeps {
  readonly database: Database
  readonly clock: Clock
  readonly newTxn: () => string
}

export interface Erasures {
  /** Takes a person out of the record for good. May run twice. Does NOT touch anything but the record. */
  erase(subject: string): Promise<Erased>
  /** Goes on with those that a crash left. */
  mend(): Promise<void>
}

const batchMax = 2_000

/**
 * Erases people by the destruction of their key: an alias that it made takes their place in each record, and then the key
 * goes. Seals are over aliases from the first, so the chain stays as it is; what is left tells that one person did all
 * of it, and not who.
 */
export function createErasures({ database, clock, newTxn }: EraseDeps): Erasures {
  async function begin(subject: string): Promise<void> {
    await database.transaction(async (sql) => {
      await ensureKeys(sql, [subject])
      const begun = await sql.query<{ alias: string }>(
        `update record_people set erasing_since = $2 where subject = $1 and erasing_since is null returning alias`,
        [subject, new Date(clock.now())],
      )
      for (const { alias } of begun) await record(sql, operator(newTxn()), { event: 'person_erased', alias })
    })
  }

  async function finish(subject: string, alias: string, key: Uint8Array): Promise<number> {
    const personOf = (one: string) => (one === subject ? { key, alias } : undefined)
    const bare = subject.slice('user:'.length)
    let total = 0
    for (let after = 0; ; ) {
      const rows = await database.query<SealedRow>(
        `select ${sealedColumns} from decision_records
         where record_no > $1 and (subject = $2 or strpos(detail::text, $3) > 0)
         order by record_no limit ${batchMax}`,
        [after, subject, bare],
      )
      const changed = rows
        .map((row) => ({ ...masked(row, personOf), row }))
        .filter(({ subject: own, detail, row }) => own !== row.subject || detail !== row.detail)
      if (changed.length > 0) {
        await database.query('select record_erase($1, $2::bigint[], $3::text[], $4::jsonb[])', [
          alias,
          changed.map(({ row }) => row.record_no),
          changed.map((one) => one.subject),
          changed.map((one) => one.detail),
        ])
        total += changed.length
      }
      const last = rows.at(-1)
      if (last === undefined) return total
      after = last.record_no
    }
  }

  async function complete(subject: string, alias: string, key: Uint8Array): Promise<number> {
    let total = 0
    // What was recorded meanwhile names them still.
    for (;;) {
      const changed = await finish(subject, alias, key)
      total += changed
      if (changed === 0) break
    }
    await database.query(
      'update record_people set subject = null, key = null, erased_at = $2 where alias = $1',
      [alias, new Date(clock.now())],
    )
    return total
  }

  const open = (subject?: string) =>
    database.query<{ subject: string; alias: string; key: Uint8Array }>(
      `select subject, alias, key from record_people
       where erasing_since is not null and erased_at is null and ($1::text is null or subject = $1)`,
      [subject ?? null],
    )

  return {
    async erase(subject) {
      await begin(subject)
      const [one] = await open(subject)
      if (one === undefined) throw new Error('The person was erased by somebody else meanwhile.')
      return { alias: one.alias, records: await complete(one.subject, one.alias, one.key) }
    },
    async mend() {
      for (const { subject, alias, key } of await open()) await complete(subject, alias, key)
    },
  }
}
