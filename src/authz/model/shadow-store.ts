import type { Sql } from '../../store/sql.ts'

/** What a model says of one question; `error`: it could not be evaluated. */
export type ShadowVerdict = 'allowed' | 'denied' | 'error'

export interface Shadow {
  readonly id: string
  readonly plan: string
  /** In force meanwhile; OpenFGA's id. */
  readonly baseModel: string
  readonly startedBy: string
  /** Of the questions, above 0 and at most 1. */
  readonly share: number
  readonly startedAt: Date
  readonly endsAt: Date
  readonly endedAt: Date | undefined
  readonly endedBecause: 'over' | 'stopped' | 'model_changed' | undefined
  readonly counts: ShadowCounts
}

/** Pairs of somebody and a document; `dropped`: questions for which there was no room. */
export interface ShadowCounts {
  readonly asked: number
  readonly gained: number
  readonly lost: number
  readonly errors: number
  readonly dropped: number
}

export interface ShadowDifference {
  /** `user:anne`, or `user:anne by agent:research-bot`. */
  readonly who: string
  readonly document: string
  readonly active: ShadowVerdict
  readonly candidate: ShadowVerdict
  readonly count: number
}

export interface StoredDifference extends ShadowDifference {
  readonly firstAt: Date
  readonly lastAt: Date
}

interface Row extends ShadowCounts {
  readonly id: string
  readonly plan: string
  readonly base_model: string
  readonly started_by: string
  readonly share: number
  readonly started_at: Date
  readonly ends_at: Date
  readonly ended_at: Date | null
  readonly ended_because: 'over' | 'stopped' | 'model_changed' | null
}

const select = `select id, plan, base_model, started_by, share, started_at, ends_at, ended_at, ended_because,
  asked::int, gained::int, lost::int, errors::int, dropped::int from model_shadows`

export async function readRunning(sql: Sql): Promise<Shadow | undefined> {
  const rows = await sql.query<Row>(`${select} where ended_at is null`)
  return rows.map(fromRow)[0]
}

/** The one that runs, else the last one that did. */
export async function readLatest(sql: Sql): Promise<Shadow | undefined> {
  const rows = await sql.query<Row>(`${select} order by ended_at is null desc, started_at desc limit 1`)
  return rows.map(fromRow)[0]
}

/** False: one runs already. */
export async function insertShadow(
  sql: Sql,
  shadow: Omit<Shadow, 'counts' | 'endedAt' | 'endedBecause'>,
): Promise<boolean> {
  const { id, plan, baseModel, startedBy, share, startedAt, endsAt } = shadow
  const rows = await sql.query(
    `insert into model_shadows (id, plan, base_model, started_by, share, started_at, ends_at)
     values ($1, $2, $3, $4, $5, $6, $7) on conflict do nothing returning id`,
    [id, plan, baseModel, startedBy, share, startedAt, endsAt],
  )
  return rows.length > 0
}

/** False: it had ended. Of several processes one ends it. */
export async function endShadow(
  sql: Sql,
  id: string,
  at: Date,
  because: NonNullable<Shadow['endedBecause']>,
): Promise<boolean> {
  const rows = await sql.query(
    'update model_shadows set ended_at = $2, ended_because = $3 where id = $1 and ended_at is null returning id',
    [id, at, because],
  )
  return rows.length > 0
}

/** Adds what one process saw. New pairs are kept up to `differencesMax`; beyond, they are only counted. */
export async function addSeen(
  sql: Sql,
  id: string,
  seen: {
    readonly counts: ShadowCounts
    readonly differences: readonly ShadowDifference[]
    readonly at: Date
  },
  differencesMax: number,
): Promise<void> {
  const { counts, differences, at } = seen
  await sql.query(
    `update model_shadows set asked = asked + $2, gained = gained + $3, lost = lost + $4, errors = errors + $5,
       dropped = dropped + $6 where id = $1`,
    [id, counts.asked, counts.gained, counts.lost, counts.errors, counts.dropped],
  )
  if (differences.length === 0) return
  const [kept] = await sql.query<{ count: number }>(
    'select count(*)::int as count from model_shadow_differences where shadow = $1',
    [id],
  )
  const room = Math.max(0, differencesMax - (kept?.count ?? 0))
  await sql.query(
    `insert into model_shadow_differences (shadow, who, document, active, candidate, count, first_at, last_at)
     select $1, who, document, active, candidate, seen.count, $7, $7
     from unnest($2::text[], $3::text[], $4::text[], $5::text[], $6::bigint[])
       with ordinality as seen (who, document, active, candidate, count, nth)
     where nth <= $8 or exists (select 1 from model_shadow_differences d where d.shadow = $1 and d.who = seen.who
       and d.document = seen.document and d.active = seen.active and d.candidate = seen.candidate)
     on conflict (shadow, who, document, active, candidate) do update
       set count = model_shadow_differences.count + excluded.count, last_at = excluded.last_at`,
    [
      id,
      differences.map(({ who }) => who),
      differences.map(({ document }) => document),
      differences.map(({ active }) => active),
      differences.map(({ candidate }) => candidate),
      differences.map(({ count }) => count),
      at,
      room,
    ],
  )
}

/** The most often seen first. */
export async function listDifferences(
  sql: Sql,
  id: string,
  limit: number,
): Promise<readonly StoredDifference[]> {
  const rows = await sql.query<ShadowDifference & { readonly first_at: Date; readonly last_at: Date }>(
    `select who, document, active, candidate, count::int, first_at, last_at from model_shadow_differences
     where shadow = $1 order by count desc, who, document limit $2`,
    [id, limit],
  )
  return rows.map(({ first_at, last_at, ...row }) => ({ ...row, firstAt: first_at, lastAt: last_at }))
}

const fromRow = (row: Row): Shadow => ({
  id: row.id,
  plan: row.plan,
  baseModel: row.base_model,
  startedBy: row.started_by,
  share: row.share,
  startedAt: row.started_at,
  endsAt: row.ends_at,
  endedAt: row.ended_at ?? undefined,
  endedBecause: row.ended_because ?? undefined,
  counts: {
    asked: row.asked,
    gained: row.gained,
    lost: row.lost,
    errors: row.errors,
    dropped: row.dropped,
  },
})
