import type { Sql } from '../store/sql.ts'

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

interface Times {
  /** Answers that held it. */
  readonly answers: number
  readonly first_at: string
  readonly last_at: string
  /** One of these actions, the last. */
  readonly last_txn: string
}

export interface Reader extends Times {
  readonly subject: string
  /** Outermost first; empty: the person themselves. */
  readonly actors: readonly string[]
  readonly client: string
}

export interface Read extends Times {
  readonly document_id: string
  /** Under which it was last given; null: no agent. */
  readonly delegation: string | null
}

export interface Reach {
  readonly days: readonly ReachDay[]
  readonly measures: readonly Measure[]
  /** Any measure is. Undefined: too few days to tell. */
  readonly unusual: boolean | undefined
}

export interface ReachDay {
  /** YYYY-MM-DD, UTC. */
  readonly day: string
  /** Distinct ones that it was given. */
  readonly documents: number
  /** Of these, those that it was given on no day before. */
  readonly new_documents: number
  readonly reads: number
}

export interface Measure {
  readonly name: 'documents' | 'new_documents' | 'reads'
  readonly last: number
  /** Of the days before on which it read anything. */
  readonly median: number
  /** More than this is unusual. */
  readonly threshold: number
  readonly unusual: boolean
}

const rowsMax = 1_000
/** Fewer days with anything read tell nothing about the next. */
const daysMin = 7

const times = `count(*) as answers, ${stamp('min(at)')} as first_at, ${stamp('max(at)')} as last_at,
  (array_agg(txn order by at desc))[1] as last_txn`
const given = `decision = 'allowed' and event in ('retrieved', 'document_read')`

function stamp(value: string): string {
  return `to_char(${value} at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')`
}

export const createRecordQuestions = ({ sql }: { readonly sql: Sql }): RecordQuestions => ({
  async readers(document, { since, until }) {
    const rows = await sql.query<Reader>(
      `select subject, actors, client, ${times} from decision_records
       where objects @> array[$1] and ${given}
         and ($2::timestamptz is null or at >= $2) and ($3::timestamptz is null or at < $3)
       group by subject, actors, client order by max(at) desc, subject limit ${rowsMax + 1}`,
      [`document:${document}`, since ?? null, until ?? null],
    )
    return listed(rows)
  },
  async reads({ subject, agent }, { since, until }) {
    const rows = await sql.query<Read>(
      `select substr(object, 10) as document_id, (array_agg(delegation order by at desc))[1] as delegation, ${times}
       from decision_records, unnest(objects) object
       where subject = $1 and ${given} and object like 'document:%'
         and (case when $2::text is null then actors = '{}' else $2 = any(actors) end)
         and ($3::timestamptz is null or at >= $3) and ($4::timestamptz is null or at < $4)
       group by object order by max(at) desc, object limit ${rowsMax + 1}`,
      [subject, agent ?? null, since ?? null, until ?? null],
    )
    return listed(rows)
  },
  async reach(agent, { until, history }) {
    const days = await sql.query<ReachDay>(
      `with firsts as (select document_id, min(day) as first from agent_reach where agent = $1 group by document_id)
       select day::text as day, count(*) as documents, count(*) filter (where first = day) as new_documents,
         sum(reads)::bigint as reads
       from agent_reach join firsts using (document_id)
       where agent = $1 and day <= $2::date and day > $2::date - $3::int
       group by day order by day`,
      [agent, until.toISOString().slice(0, 10), history + 1],
    )
    return { days, ...judged(days, until.toISOString().slice(0, 10)) }
  },
})

const listed = <T>(rows: readonly T[]): Listed<T> => ({
  rows: rows.slice(0, rowsMax),
  complete: rows.length <= rowsMax,
})

/**
 * The last day against those before it: unusual is more than median + 3 × the largest of 1.4826 × MAD, √median and 1.
 * MAD × 1.4826 is the standard deviation of a normal distribution, and one wild day moves neither it nor the median; √median
 * is what chance alone does to a count. Its very first days are all new: those of the first seven are compared with nothing.
 */
function judged(days: readonly ReachDay[], last: string): Pick<Reach, 'measures' | 'unusual'> {
  const today = days.find(({ day }) => day === last)
  const before = days.filter(({ day }) => day < last)
  if (before.length < daysMin) return { measures: [], unusual: undefined }
  const measures = (['documents', 'new_documents', 'reads'] as const).map((name): Measure => {
    const values = before.map((one) => one[name])
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
  const sorted = values.toSorted((one, other) => one - other)
  const middle = sorted.length >> 1
  const [low = 0, high = 0] = [sorted[middle - (sorted.length % 2 === 0 ? 1 : 0)], sorted[middle]]
  return (low + high) / 2
}
