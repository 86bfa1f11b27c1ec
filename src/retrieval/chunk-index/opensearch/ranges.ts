import { OperatorError } from '../../../kernel/operator-error.ts'
import type { Database } from '../../../store/sql.ts'
import { type Engine, EngineRefused } from './engine.ts'
import { type Generation, nameOf } from './generations.ts'
import { assess, lookAtIndex, makeIndex, readIndices } from './mapping.ts'

/** Which range of a generation has a number. */
export const rangeOf = ({ width }: Pick<Generation, 'width'>, number: number): number =>
  Math.floor(number / width)

/** What the index of a range is called. */
export const indexOf = ({ name }: Pick<Generation, 'name'>, range: number): string => `${name}-${range}`

interface Parts {
  readonly database: Database
  readonly engine: Engine
}

/**
 * Makes the indices that the generation lacks for these numbers. Throws {@link EngineRefused}, and
 * `OperatorError` where the engine makes others than it was asked for.
 */
export async function makeRanges(
  parts: Parts,
  generation: Generation,
  numbers: readonly number[],
): Promise<void> {
  const wanted = new Set(numbers.map((number) => rangeOf(generation, number)))
  for (const range of wanted)
    if (!generation.ranges.includes(range)) await makeRange(parts, generation, range)
}

async function makeRange({ database, engine }: Parts, generation: Generation, range: number): Promise<void> {
  const { id } = generation
  // There before its index is, so that one that is made and never used is dropped with the others.
  const [known] = await database.query<{ index_uuid: string | null }>(
    `with noted as (
       insert into search_ranges (generation, range) select id, $2 from search_generations where id = $1
       on conflict do nothing
     )
     select index_uuid from search_generations
     left join search_ranges on generation = id and range = $2 where id = $1`,
    [id, range],
  )
  if (known === undefined) throw new EngineRefused('its indices were dropped')
  if (known.index_uuid !== null) return
  const index = indexOf(generation, range)
  await makeIndex(engine, index, generation)
  const looked = await lookAtIndex(engine, index, generation)
  if (looked.is !== 'ours')
    throw new OperatorError('The search engine made another index than it was asked for.')
  const noted = await database.query(
    `update search_ranges set index_uuid = $3
     where generation = $1 and range = $2 and coalesce(index_uuid, $3) = $3 returning 1`,
    [id, range, looked.uuid],
  )
  if (noted.length === 0) throw new EngineRefused('an index was dropped, or made anew')
}

/** Whether each index of the generation is the one that Remit made. Throws {@link EngineRefused}. */
export async function lookAtRanges(
  { database, engine }: Parts,
  generation: Generation,
): Promise<'ours' | 'changed' | 'gone'> {
  const rows = await database.query<{ range: number; index_uuid: string }>(
    'select range, index_uuid from search_ranges where generation = $1 and index_uuid is not null order by range',
    [generation.id],
  )
  const indices = await readIndices(engine, `${generation.name}-*`)
  for (const { range, index_uuid: uuid } of rows) {
    const name = indexOf(generation, range)
    // Of one that is not among them each node is asked.
    const looked =
      name in indices ? assess(indices[name], generation) : await lookAtIndex(engine, name, generation)
    if (looked.is !== 'ours') return looked.is
    if (looked.uuid !== uuid) return 'changed'
  }
  return 'ours'
}

/**
 * Drops each generation, with its indices, that was retired longer ago than the making of an index takes: one
 * that is being made would stay. Throws the first problem at the end.
 */
export async function dropRetired({ database, engine }: Parts, graceSeconds: number): Promise<void> {
  const problems: unknown[] = []
  const retired = await database.query<{ id: string }>(
    'select id from search_generations where retired_at <= now() - make_interval(secs => $1)',
    [graceSeconds],
  )
  for (const { id } of retired)
    try {
      // Also those that no row names: of another history, or made by the engine for a removal that came late.
      for (const index of Object.keys(await readIndices(engine, `${nameOf(id)}*`)))
        await dropIndex(engine, index)
      await database.query('delete from search_generations where id = $1 and retired_at is not null', [id])
    } catch (error) {
      problems.push(error)
    }
  if (problems.length > 0) throw problems[0]
}

/**
 * Drops the indices in which nothing is, or will be: numbers are given once, and each search asks every
 * index. Gives how many.
 */
export async function dropEmptied({ database, engine }: Parts, generation: Generation): Promise<number> {
  // First of all the row: nothing counts as found in an index that has none. See `noteFound`.
  const emptied = await database.query<{ range: number }>(
    `delete from search_ranges r
     where generation = $1 and index_uuid is not null
       and range < (select max(publication) from engine_publications) / $2::bigint
       and not exists (select from index_publications
         where publication between r.range * $2::bigint and (r.range + 1) * $2::bigint - 1)
       and not exists (select from engine_publications where removed_at is null
         and publication between r.range * $2::bigint and (r.range + 1) * $2::bigint - 1)
     returning range`,
    [generation.id, generation.width],
  )
  for (const { range } of emptied) await dropIndex(engine, indexOf(generation, range))
  return emptied.length
}

/** Drops an index, also where a try before has dropped it. Throws {@link EngineRefused}. */
export const dropIndex = (engine: Engine, index: string): Promise<void> =>
  engine
    .ask({ method: 'DELETE', path: `/${index}`, timeoutMs: 30_000 }, () => undefined)
    .catch((error: unknown) => {
      if (!(error instanceof EngineRefused && error.isNoIndex)) throw error
    })
