import type { Clock } from '../../kernel/clock.ts'
import type { Database, Sql } from '../../store/sql.ts'
import { digestOf, peopleIn, type SealedRow, sealedColumns } from './canonical.ts'
import { digestOfLeaves, headOf, noHead, type Seal } from './head.ts'
import type { SealKey } from './key.ts'
import { ensureKeys } from './people.ts'

/** The database, the key that signs seals, and a clock in milliseconds. */
export interface SealerDeps {
  readonly database: Database
  readonly key: SealKey
  readonly clock: Clock
}

/** Puts committed records under a signed seal. Safe to run on several processes. */
export interface Sealer {
  /**
   * Seals what was committed and is not sealed yet; gives how many records. 0 also while another process
   * seals.
   */
  seal(): Promise<number>
}

// Any number that nothing else here locks. Not on PGlite: one process, and advisory locks that do not
// exclude.
const lockNumber = 7_364_838
const batchMax = 5_000

/**
 * Seals the record: each batch is one seal with a digest of each record, chained to the one before and
 * signed. One process at a time; a batch is one transaction, so a crash leaves it sealed or not at all.
 * Records are committed in another order than they are numbered: a number that is passed by is looked at
 * until no transaction can have it any more.
 */
export function createSealer({ database, key, clock }: SealerDeps): Sealer {
  return {
    async seal() {
      let total = 0
      for (;;) {
        const sealed = await database.transaction((sql) => sealBatch(sql))
        total += sealed
        if (sealed === batchMax) continue
        if (total > 0) await database.query('select record_tidy()')
        return total
      }
    },
  }

  async function sealBatch(sql: Sql): Promise<number> {
    if (database.kind === 'postgres' && !(await isAlone(sql))) return 0
    const previousSeal = await lastSeal(sql)
    const rows = await unsealed(sql, previousSeal.sealedTo)
    if (rows.length === 0) return 0
    const personOf = await ensureKeys(sql, [...new Set(rows.flatMap(peopleIn))])
    const digests = Buffer.concat(rows.map((row) => digestOf(row, personOf)))
    const numbers = rows.map(({ record_no }) => record_no)
    const [firstNumber = 0] = numbers
    const newest = numbers.at(-1) ?? 0
    const seal: Seal = {
      seal_no: previousSeal.sealNo + 1,
      sealed_at: new Date(clock.now()),
      records: rows.length,
      first_no: firstNumber,
      last_no: newest,
      sealed_to: Math.max(previousSeal.sealedTo, newest),
      newest_at: new Date(Math.max(...rows.map(({ time }) => Date.parse(time)))),
      digest: digestOfLeaves(digests),
    }
    const head = headOf(seal, previousSeal.head)
    await sql.query(
      `insert into record_seals (${Object.keys(seal).join(', ')}, head, public_key, signature)
       values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)`,
      [...Object.values(seal), head, key.publicKey, key.sign(head)],
    )
    await sql.query('insert into record_leaves (seal_no, record_nos, digests) values ($1, $2, $3)', [
      seal.seal_no,
      numbers,
      digests,
    ])
    await keepGaps(sql, numbers, previousSeal.sealedTo, seal.sealed_at)
    await addToBaselines(sql, rows)
    return rows.length
  }
}

/** Waits for who seals; nobody seals before the end of the transaction. */
export async function holdSealing(sql: Sql, { kind }: Pick<Database, 'kind'>): Promise<void> {
  if (kind === 'postgres') await sql.query('select pg_advisory_xact_lock($1)', [lockNumber])
}

async function isAlone(sql: Sql): Promise<boolean> {
  const [row] = await sql.query<{ alone: boolean }>('select pg_try_advisory_xact_lock($1) as alone', [
    lockNumber,
  ])
  return row?.alone === true
}

async function lastSeal(sql: Sql): Promise<{ sealNo: number; sealedTo: number; head: string }> {
  const [row] = await sql.query<{ seal_no: number; sealed_to: number; head: string }>(
    `select seal_no, sealed_to, encode(head, 'hex') as head from record_seals order by seal_no desc limit 1`,
  )
  return { sealNo: row?.seal_no ?? 0, sealedTo: row?.sealed_to ?? 0, head: row?.head ?? noHead }
}

const unsealed = (sql: Sql, sealedTo: number): Promise<SealedRow[]> =>
  sql.query<SealedRow>(
    `select ${sealedColumns} from decision_records
     where record_no in (
       select record_no from decision_records where record_no > $1
       union all
       select d.record_no from record_gaps g join decision_records d on d.record_no between g.from_no and g.to_no
       order by record_no limit ${batchMax})
     order by record_no`,
    [sealedTo],
  )

/**
 * What is missing between the numbers is kept; what has come since is taken out. A gap is given up after an
 * hour, once every transaction of when it was seen has ended.
 */
async function keepGaps(sql: Sql, numbers: readonly number[], sealedTo: number, now: Date): Promise<void> {
  const lateNumbers = numbers.filter((number) => number <= sealedTo)
  for (const number of lateNumbers) {
    await sql.query(
      `with gap as (delete from record_gaps where $1 between from_no and to_no returning *)
       insert into record_gaps (from_no, to_no, since, horizon)
       select from_no, $1 - 1, since, horizon from gap where from_no < $1
       union all select $1 + 1, to_no, since, horizon from gap where to_no > $1`,
      [number],
    )
  }
  const gaps: { from: number; to: number }[] = []
  let nextNumber = sealedTo + 1
  for (const number of numbers) {
    if (number <= sealedTo) continue
    if (number > nextNumber) gaps.push({ from: nextNumber, to: number - 1 })
    nextNumber = number + 1
  }
  if (gaps.length > 0)
    await sql.query(
      `insert into record_gaps (from_no, to_no, since, horizon)
       select *, $3, pg_snapshot_xmax(pg_current_snapshot()) from unnest($1::bigint[], $2::bigint[])
       on conflict (from_no) do update set to_no = greatest(record_gaps.to_no, excluded.to_no)`,
      [gaps.map(({ from: gapStart }) => gapStart), gaps.map(({ to: gapEnd }) => gapEnd), now],
    )
  await sql.query(
    `delete from record_gaps where since < $1 and horizon <= pg_snapshot_xmin(pg_current_snapshot())`,
    [new Date(now.getTime() - gapMs)],
  )
}

const gapMs = 3_600_000

/**
 * Adds what agents were given to the days of their reach, in the transaction that seals it: once for each
 * record.
 */
async function addToBaselines(sql: Sql, rows: readonly SealedRow[]): Promise<void> {
  const counts = new Map<string, number>()
  for (const { actors, decision, event, objects, time } of rows) {
    const [agent] = actors
    if (agent === undefined || decision !== 'allowed' || !readingEvents.has(event)) continue
    for (const object of objects) {
      if (!object.startsWith(documentPrefix)) continue
      const key = JSON.stringify([agent, time.slice(0, 10), object.slice(documentPrefix.length)])
      counts.set(key, (counts.get(key) ?? 0) + 1)
    }
  }
  if (counts.size === 0) return
  // In one order, so that no two transactions wait for each other.
  const found = [...counts]
    .sort()
    .map(([key, reads]) => [...(JSON.parse(key) as [string, string, string]), reads] as const)
  await sql.query(
    `insert into agent_baselines (agent, day, document_id, reads)
     select * from unnest($1::text[], $2::date[], $3::text[], $4::int[])
     on conflict (agent, day, document_id) do update set reads = agent_baselines.reads + excluded.reads`,
    [
      found.map(([agent]) => agent),
      found.map(([, day]) => day),
      found.map(([, , id]) => id),
      found.map(([, , , n]) => n),
    ],
  )
}

const readingEvents: ReadonlySet<string> = new Set(['retrieved', 'document_read'])
const documentPrefix = 'document:'
