import { OperatorError } from '../../../kernel/operator-error.ts'
import type { Database, Sql } from '../../../store/sql.ts'
import { type Engine, EngineRefused } from './engine.ts'
import type { Generation } from './generations.ts'
import { lookAtIndex, makeIndex } from './mapping.ts'

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
  // Committed before its index is made, so that one that is made and never used is dropped with the others.
  await database.transaction(async (sql) => {
    await keepFromBeingDropped(sql, generation)
    await sql.query('insert into search_ranges (generation, range) values ($1, $2) on conflict do nothing', [
      id,
      range,
    ])
  })
  await database.transaction(async (sql) => {
    await keepFromBeingDropped(sql, generation)
    const index = indexOf(generation, range)
    await makeIndex(engine, index, generation)
    const looked = await lookAtIndex(engine, index, generation)
    if (looked.is !== 'ours')
      throw new OperatorError('The search engine made another index than it was asked for.')
    const noted = await sql.query(
      `update search_ranges set index_uuid = $3
       where generation = $1 and range = $2 and coalesce(index_uuid, $3) = $3 returning 1`,
      [id, range, looked.uuid],
    )
    if (noted.length === 0) throw new EngineRefused('an index was made anew')
  })
}

/** Until the transaction ends: whoever drops it waits, and sees the index. */
async function keepFromBeingDropped(sql: Sql, { id }: Generation): Promise<void> {
  const known = await sql.query('select from search_generations where id = $1 for share', [id])
  if (known.length === 0) throw new EngineRefused('its indices were dropped')
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
  for (const { range, index_uuid: uuid } of rows) {
    const looked = await lookAtIndex(engine, indexOf(generation, range), generation)
    if (looked.is !== 'ours') return looked.is
    if (looked.uuid !== uuid) return 'changed'
  }
  return 'ours'
}

/** Drops the indices of each retired generation, then the generation. Throws the first problem at the end. */
export async function dropRetired({ database, engine }: Parts): Promise<void> {
  const problems: unknown[] = []
  const retired = await database.query<{ id: string }>(
    'select id from search_generations where retired_at is not null',
  )
  for (const { id } of retired)
    try {
      await database.transaction((sql) => dropGeneration(sql, engine, id))
    } catch (error) {
      problems.push(error)
    }
  if (problems.length > 0) throw problems[0]
}

async function dropGeneration(sql: Sql, engine: Engine, id: string): Promise<void> {
  const [row] = await sql.query<{ width: number | null }>(
    'select width from search_generations where id = $1 and retired_at is not null for update',
    [id],
  )
  if (row === undefined) return
  const ranges = await sql.query<{ range: number }>('select range from search_ranges where generation = $1', [
    id,
  ])
  const name = `remit-${id}`
  // One of a version before has a single index.
  const indices = row.width === null ? [name] : ranges.map(({ range }) => indexOf({ name }, range))
  for (const index of indices)
    await engine
      .ask({ method: 'DELETE', path: `/${index}`, timeoutMs: 30_000 }, () => undefined)
      .catch((error: unknown) => {
        if (!(error instanceof EngineRefused && error.isNoIndex)) throw error
      })
  await sql.query('delete from search_generations where id = $1', [id])
}
