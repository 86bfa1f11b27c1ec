import { setTimeout } from 'node:timers/promises'
import type { Clock } from '../../kernel/clock.ts'
import { eachOf } from '../../kernel/each-of.ts'
import { OperatorError } from '../../kernel/operator-error.ts'
import { pluralize } from '../../kernel/pluralize.ts'
import type { Database, Sql } from '../../store/sql.ts'
import { operator, record } from '../record.ts'
import { masked, peopleIn, type SealedRow, sealedColumns } from './canonical.ts'
import { ensureKeys, keysOf } from './people.ts'
import { holdSealing } from './sealer.ts'

/** The alias that stays in the record, and how many records named the person. */
export interface ErasureResult {
  readonly alias: string
  /** Records that named them. */
  readonly records: number
}

/** `seal` seals what is committed and not sealed yet, and gives how many records that were. */
export interface EraseDeps {
  readonly database: Database
  readonly clock: Clock
  readonly newTxn: () => string
  /** Seals what was committed until now; 0 also while another process does. */
  readonly seal: () => Promise<number>
  /** Between two looks at what another process is sealing. Default: 200. */
  readonly pauseMs?: number
}

/** Erases persons from the record. */
export interface Erasures {
  /**
   * Takes a person out of the record for good. May run twice. Does NOT touch anything but the record. Throws
   * OperatorError where something that names them is never sealed: what is sealed is erased then, and the
   * rest stays to be done.
   */
  erase(subject: string): Promise<ErasureResult>
  /** Goes on with those that a crash left. */
  mend(): Promise<void>
}

interface Pass {
  readonly erased: number
  /** That name them, and could not be touched yet. */
  readonly unsealed: number
}

/** Whose erasure began. */
interface Person {
  readonly subject: string
  readonly alias: string
  readonly key: Uint8Array
}

type Within = <T>(work: (sql: Sql) => Promise<T>) => Promise<T>

const batchMax = 2_000
/** Looks in a row at which nothing more was sealed or erased. */
const idleMax = 50

/**
 * Erases people by the destruction of their key: an alias that it made takes their place in each record, and
 * then the key goes. Seals are over aliases from the first, so the chain stays as it is; what is left tells
 * that one person did all of it, and not who. Only what is sealed is touched: a change of anything else would
 * show nowhere.
 */
export function createErasures({ database, clock, newTxn, seal, pauseMs = 200 }: EraseDeps): Erasures {
  async function beginErasure(subject: string): Promise<void> {
    await database.transaction(async (sql) => {
      await ensureKeys(sql, [subject])
      const insertedRows = await sql.query<{ alias: string }>(
        `update record_people set erasing_since = $2 where subject = $1 and erasing_since is null returning alias`,
        [subject, new Date(clock.now())],
      )
      for (const { alias } of insertedRows)
        await record(sql, operator(newTxn()), { event: 'person_erased', alias })
    })
  }

  /** Nobody else erases meanwhile: who read a row before another's erasure would write their name back. */
  const alone: Within = (work) =>
    database.transaction(async (sql) => {
      await holdSealing(sql, database)
      return await work(sql)
    })

  /** Each batch is read and written `within` one transaction. */
  async function pass(within: Within, person: Person): Promise<Pass> {
    let [erased, unsealed] = [0, 0]
    for (let afterNumber: number | undefined = 0; afterNumber !== undefined; ) {
      const after: number = afterNumber
      const batch = await within((sql) => eraseBatch(sql, person, after))
      erased += batch.erased
      unsealed += batch.unsealed
      afterNumber = batch.lastNumber
    }
    return { erased, unsealed }
  }

  async function completeErasure(person: Person): Promise<number> {
    let total = 0
    // What was recorded meanwhile names them still.
    for (let idle = 0; ; ) {
      const sealed = await seal()
      const { erased, unsealed } = await pass(alone, person)
      total += erased
      if (erased === 0 && unsealed === 0) {
        const lastPass = await dropKey(person)
        total += lastPass.erased
        if (lastPass.unsealed === 0) return total
      }
      idle = sealed + erased > 0 ? 0 : idle + 1
      if (idle === idleMax)
        throw new OperatorError(
          `${pluralize(unsealed, 'record that names them is', 'records that name them are')} sealed by nobody: npm run remit -- audit verify tells which. The rest is erased.`,
        )
      if (idle > 0) await setTimeout(pauseMs)
    }
  }

  /**
   * While nobody seals: what was sealed by this key and names them still would look changed once it is gone.
   */
  function dropKey(person: Person): Promise<Pass> {
    return alone(async (sql) => {
      const lastPass = await pass((work) => work(sql), person)
      if (lastPass.unsealed > 0) return lastPass
      const dropped = await sql.query(
        `update record_people set subject = null, key = null, erased_at = $2
         where alias = $1 and erased_at is null returning alias`,
        [person.alias, new Date(clock.now())],
      )
      // Once more: it is sealed after all that names the alias, so retention takes it after all of that.
      if (dropped.length > 0)
        await record(sql, operator(newTxn()), { event: 'person_erased', alias: person.alias })
      return lastPass
    })
  }

  const openErasures = (subject?: string) =>
    database.query<Person>(
      `select subject, alias, key from record_people
       where erasing_since is not null and erased_at is null and ($1::text is null or subject = $1)`,
      [subject ?? null],
    )

  return {
    async erase(subject) {
      await beginErasure(subject)
      const [openErasure] = await openErasures(subject)
      if (openErasure === undefined) throw new Error('The person was erased by somebody else meanwhile.')
      return { alias: openErasure.alias, records: await completeErasure(openErasure) }
    },
    async mend() {
      await eachOf(await openErasures(), completeErasure)
    },
  }
}

/** `lastNumber`: undefined after the last batch. */
async function eraseBatch(
  sql: Sql,
  { subject, alias, key }: Person,
  afterNumber: number,
): Promise<Pass & { readonly lastNumber: number | undefined }> {
  const personOf = (candidate: string) => (candidate === subject ? { key, alias } : undefined)
  const bare = subject.slice('user:'.length)
  const rows = await sql.query<SealedRow>(
    `select ${sealedColumns} from decision_records
     where record_no > $1 and (subject = $2 or strpos(detail::text, $3) > 0)
     order by record_no limit ${batchMax}`,
    [afterNumber, subject, bare],
  )
  const lastNumber = rows.at(-1)?.record_no
  const keys = await keysOf(sql, [...new Set(rows.flatMap(peopleIn))])
  const changed = rows
    .map((row) => ({ ...masked(row, personOf, (candidate) => keys.get(candidate)), row }))
    .filter(({ subject: ownSubject, detail, row }) => ownSubject !== row.subject || detail !== row.detail)
  if (changed.length === 0) return { erased: 0, unsealed: 0, lastNumber }
  const [counted] = await sql.query<{ erased: number }>(
    'select record_erase($1, $2::bigint[], $3::text[], $4::jsonb[]) as erased',
    [
      alias,
      changed.map(({ row }) => row.record_no),
      changed.map((row) => row.subject),
      changed.map((row) => row.detail),
    ],
  )
  const erased = counted?.erased ?? 0
  return { erased, unsealed: changed.length - erased, lastNumber }
}
