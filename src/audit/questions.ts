import type { Reach as ReachAnswer, Readers, Reads } from '@remit/contract/record-questions'
import type { Database, Sql } from '../store/sql.ts'

/** The questions of an incident, asked of the record. None of them checks who asks, nor puts it on record. */
export interface RecordQuestions {
  /** Who was given a document between two times, and through which agents. */
  readers(document: string, span: Span): Promise<Listed<Reader>>
  /** What one agent was given for one person; without an agent, what they were given themselves. */
  reads(
    who: { readonly subject: string; readonly agent?: string | undefined },
    span: Span,
  ): Promise<Listed<Read>>
  /** What an agent reads, day by day, and whether the last day is unlike the ones before. */
  reach(agent: string, days: { readonly until: Date; readonly history: number }): Promise<Reach>
}

/** From one time on, and before another. */
export interface Span {
  readonly since?: Date | undefined
  readonly until?: Date | undefined
}

interface Listed<T> {
  readonly rows: readonly T[]
  /** False: there are more than are listed. */
  readonly complete: boolean
}

/**
 * Somebody who was given a document, with the first and last time and how often. `last_txn` is empty where
 * its record is gone.
 */
type Reader = Readers['readers'][number]

/**
 * A document that somebody was given, with the first and last time and how often, and under which delegation
 * it was last.
 */
type Read = Omit<Reads['documents'][number], 'today'>

/** What an agent read on one day (UTC). */
type ReachDay = ReachAnswer['days'][number]

/** One measure of the last day against the median of the earlier days. */
type Measure = ReachAnswer['measures'][number]

/** How much an agent read a day, and whether its last day stands out against the days before. */
export interface Reach extends Pick<ReachAnswer, 'days' | 'measures'> {
  /** Any measure is. Undefined: too few days to tell. */
  readonly unusual: boolean | undefined
}

const rowsMax = 1_000
/** Fewer days with anything read tell nothing about the next. */
const daysMin = 7

const listedTimes = `sum(answers)::bigint as answers, min(first_at) as first_at, max(last_at) as last_at`
const answerTimes = `answers, ${stamp('first_at')} as first_at, ${stamp('last_at')} as last_at`

function stamp(value: string): string {
  return `to_char(${value} at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')`
}

/**
 * Answers that no seal holds yet, and that are therefore not listed: after the last one, or in a gap. $1 is a
 * number up to which all is known to be sealed, by which the database plans; what counts is the table of this
 * moment. Neither may be planned together with what is asked for: it would be looked for in the whole record.
 */
const unsealed = `unsealed as materialized (
  select d.* from (
    select record_no from decision_records
    where record_no > $1 and record_no > coalesce((select sealed_to from record_seals order by seal_no desc limit 1), 0)
    union all
    select late.record_no from record_gaps g cross join lateral (
      select record_no from decision_records where record_no between g.from_no and g.to_no offset 0) late
  ) place cross join lateral (select * from decision_records d where d.record_no = place.record_no offset 0) d
  where decision = 'allowed' and event in ('retrieved', 'document_read')
    and ($2::timestamptz is null or at >= $2) and ($3::timestamptz is null or at < $3))`
const between = `($2::timestamptz is null or at >= $2) and ($3::timestamptz is null or at < $3)`

async function sealedTo(sql: Sql): Promise<number> {
  const [lastSeal] = await sql.query<{ sealed_to: number }>(
    'select sealed_to from record_seals order by seal_no desc limit 1',
  )
  return lastSeal?.sealed_to ?? 0
}

/**
 * Compiling a statement takes longer than any of these; and what it groups may be as much as there are
 * people.
 */
const inReadOnly = <T>(database: Database, query: (sql: Sql) => Promise<T>): Promise<T> =>
  database.transaction(async (sql) => {
    await sql.query(`select set_config('jit', 'off', true), set_config('work_mem', '64MB', true)`)
    return query(sql)
  })

/** Answers from the record in read-only transactions. Does NOT check who may ask. */
export const createRecordQuestions = ({ database }: { readonly database: Database }): RecordQuestions => ({
  async readers(document, { since: sinceTime, until: untilTime }) {
    const rows = await inReadOnly(database, async (sql) =>
      sql.query<Reader>(
        `with ${unsealed},
       counted as (
         select who, count(*) as answers, min(at) as first_at, max(at) as last_at
         from record_given where document_id = $4 and ${between} group by who),
       found as (
         select subject, actors, client, ${listedTimes} from (
           select subject, actors, client, answers, first_at, last_at from counted join record_who using (who)
           union all
           select subject, actors, client, 1, at, at from unsealed where objects @> array['document:' || $4]
         ) listed
         group by subject, actors, client order by last_at desc, subject limit ${rowsMax + 1})
       select subject, actors, client, ${answerTimes}, coalesce(last_txn, '') as last_txn from found left join lateral (
         select txn as last_txn from decision_records d
         where d.at = last_at and d.actors = found.actors and d.client = found.client
           and d.objects @> array['document:' || $4]
         -- While somebody is being erased, the record may name them still where the list does not.
         order by d.subject = found.subject desc, record_no desc limit 1) last on true
       order by found.last_at desc, subject`,
        [await sealedTo(sql), sinceTime ?? null, untilTime ?? null, document],
      ),
    )
    return listed(rows)
  },
  async reads({ subject, agent }, { since: sinceTime, until: untilTime }) {
    const through = `(case when $5::text is null then actors = '{}' else $5 = any(actors) end)`
    const rows = await inReadOnly(database, async (sql) =>
      sql.query<Read>(
        `with ${unsealed},
       found as (
         select document_id, ${listedTimes} from (
           select document_id, count(*) as answers, min(at) as first_at, max(at) as last_at from record_given
           where who = any(array(select who from record_who where subject = $4 and ${through})) and ${between}
           group by document_id
           union all
           select substr(object, 10), 1, at, at from unsealed cross join unnest(objects) object
           where subject = $4 and ${through} and starts_with(object, 'document:')
         ) listed
         group by document_id order by last_at desc, document_id limit ${rowsMax + 1})
       select document_id, delegation, ${answerTimes}, coalesce(last_txn, '') as last_txn from found left join lateral (
         select delegation, txn as last_txn from decision_records d
         where d.at = last_at and ${through} and d.objects @> array['document:' || document_id]
         order by d.subject = $4 desc, record_no desc limit 1) last on true
       order by found.last_at desc, document_id`,
        [await sealedTo(sql), sinceTime ?? null, untilTime ?? null, subject, agent ?? null],
      ),
    )
    return listed(rows)
  },
  async reach(agent, { until: untilTime, history }) {
    const days = await inReadOnly(database, async (sql) =>
      sql.query<ReachDay>(
        `with firsts as (select document_id, min(day) as first from agent_baselines where agent = $1 group by document_id)
       select day::text as day, count(*) as documents, count(*) filter (where first = day) as new_documents,
         sum(reads)::bigint as reads
       from agent_baselines join firsts using (document_id)
       where agent = $1 and day <= $2::date and day > $2::date - $3::int
       group by day order by day`,
        [agent, untilTime.toISOString().slice(0, 10), history + 1],
      ),
    )
    return { days, ...judged(days, untilTime.toISOString().slice(0, 10)) }
  },
})

const listed = <T>(rows: readonly T[]): Listed<T> => ({
  rows: rows.slice(0, rowsMax),
  complete: rows.length <= rowsMax,
})

/**
 * The last day against those before it: unusual is more than median + 3 × the largest of 1.4826 × MAD,
 * √median and 1. MAD × 1.4826 is the standard deviation of a normal distribution, and one wild day moves
 * neither it nor the median; √median is what chance alone does to a count. Its very first days are all new:
 * those of the first seven are compared with nothing.
 */
function judged(days: readonly ReachDay[], lastDay: string): Pick<Reach, 'measures' | 'unusual'> {
  const today = days.find(({ day }) => day === lastDay)
  const earlierDays = days.filter(({ day }) => day < lastDay)
  if (earlierDays.length < daysMin) return { measures: [], unusual: undefined }
  const measures = (['documents', 'new_documents', 'reads'] as const).map((name): Measure => {
    const values = earlierDays.map((day) => day[name])
    const median = medianOf(values)
    const mad = medianOf(values.map((value) => Math.abs(value - median)))
    const threshold = median + 3 * Math.max(1.4826 * mad, Math.sqrt(median), 1)
    const value = today?.[name] ?? 0
    return {
      name,
      last: value,
      median,
      threshold: Math.round(threshold * 10) / 10,
      unusual: value > threshold,
    }
  })
  return { measures, unusual: measures.some(({ unusual }) => unusual) }
}

function medianOf(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b)
  const middle = sorted.length >> 1
  const [low = 0, high = 0] = [sorted[middle - (sorted.length % 2 === 0 ? 1 : 0)], sorted[middle]]
  return (low + high) / 2
}
