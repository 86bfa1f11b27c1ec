import type { Log } from '../../../kernel/log.ts'
import { reasonOf } from '../../../kernel/reason.ts'
import { countRows, type Database, type Sql } from '../../../store/sql.ts'
import { retireGenerations } from '../postgres/retire-generations.ts'
import type { Engine } from './engine.ts'
import {
  admitGeneration,
  type Generation,
  type NewGeneration,
  newGeneration,
  noteGeneration,
  readGenerations,
} from './generations.ts'
import { dropEmptied, dropRetired, lookAtRanges, makeRanges } from './ranges.ts'
import { catchUp, compareGeneration, fillGeneration, lacksPassages, removeEnded } from './reconcile.ts'

/** What keeps the engine as the database says. */
export interface UpkeepDeps {
  readonly database: Database
  readonly engine: Engine
  readonly log: Log
  /** What a new index is made with. */
  readonly form: () => Promise<NewGeneration>
  /**
   * Seconds after its end until a publication is removed, and an index dropped. Default 600: longer than a
   * put, or the making of an index, that began before it.
   */
  readonly graceSeconds?: number
  /** Seconds between two counts of what each index has. Default 60. */
  readonly countSeconds?: number
  /** Seconds between two comparisons of each index with the database. Default 3,600. */
  readonly compareSeconds?: number
}

/**
 * One turn: removes what ended, drops what is retired, retires an index that is gone or not ours, makes one
 * where there is none, compares, puts what it lacks into one that is not in use, and brings it into use. What
 * fails is logged and holds up nothing else. It may be ended anywhere and is done again. One process at a
 * time, which is the caller's to see to: two would do the work twice.
 */
export async function keepEngine(deps: UpkeepDeps, signal: AbortSignal): Promise<void> {
  const { database, engine, log, graceSeconds = 600 } = deps
  const steps = [
    { name: 'removing', work: () => removeEnded({ database, engine }, graceSeconds) },
    { name: 'dropping', work: () => dropRetired(deps, graceSeconds) },
    { name: 'looking', work: () => retireLost(deps) },
    { name: 'comparing', work: () => compareEngine(deps) },
    { name: 'filling', work: () => fillNewest(deps, signal) },
  ]
  for (const { name, work } of steps)
    try {
      if (signal.aborted) return
      await work()
    } catch (error) {
      if (!signal.aborted)
        log('background_failed', { name: `search_engine_${name}`, reason: reasonOf(error) })
    }
}

async function fillNewest(deps: UpkeepDeps, signal: AbortSignal): Promise<void> {
  const { database, engine, log } = deps
  const newest = (await readGenerations(database)).at(-1) ?? (await makeGeneration(deps))
  if (!(await isWaiting(database, newest))) return
  const filled = await fillGeneration({ database, engine }, newest, signal)
  log('search_engine_filled', { index: newest.name, publications: filled })
  if (await bringIntoUse(database, newest)) log('search_engine_in_use', { index: newest.name })
}

/**
 * What has to be done before anything can be published: there is an index, and it is in use where nothing has
 * to be put into it first.
 */
export async function beginEngine(deps: UpkeepDeps): Promise<void> {
  const generations = await readGenerations(deps.database)
  const newest = generations.at(-1) ?? (await makeGeneration(deps))
  if (await isWaiting(deps.database, newest)) await bringIntoUse(deps.database, newest)
}

/** Not searched yet, or not any more until it is filled. */
const isWaiting = async (sql: Sql, { id }: Generation): Promise<boolean> =>
  (await countRows(
    sql,
    'select from search_generations where id = $1 and retired_at is null and not is_current',
    [id],
  )) > 0

// More, and its own scores say too little of the order.
const driftMax = 0.1

/**
 * Counts and compares each index where it is time, and compares at once where the count is too small. Makes
 * another one where passages have become longer or shorter since it was made. What is found to lack or to
 * have come back is mended by the steps after it.
 */
async function compareEngine(deps: UpkeepDeps): Promise<void> {
  const { database, engine, log, countSeconds = 60, compareSeconds = 3_600 } = deps
  for (const generation of await readGenerations(database)) {
    const isCompared = await isDue(database, generation, 'compared_at', compareSeconds)
    const isCounted = isCompared || (await isDue(database, generation, 'counted_at', countSeconds))
    if (!isCounted) continue
    if (isCompared || (await lacksPassages({ database, engine }, generation))) {
      await catchUp(database)
      const compared = await compareGeneration({ database, engine }, generation)
      log('search_engine_compared', { index: generation.name, ...compared })
    }
    await database.query(
      `update search_generations set counted_at = now(),
         compared_at = case when $2::boolean then now() else compared_at end where id = $1`,
      [generation.id, isCompared],
    )
    if (!isCompared) continue
    const dropped = await dropEmptied(deps, generation)
    if (dropped > 0) log('search_engine_emptied', { index: generation.name, dropped })
    await renewDrifted(deps, generation)
  }
}

const isDue = async (
  sql: Sql,
  { id }: Generation,
  column: 'counted_at' | 'compared_at',
  seconds: number,
): Promise<boolean> =>
  (await countRows(
    sql,
    `select from search_generations
     where id = $1 and case $2 when 'compared_at' then compared_at else counted_at end
       <= now() - make_interval(secs => $3)`,
    [id, column, seconds],
  )) > 0

/** The old one is searched until the new one is whole. */
async function renewDrifted(deps: UpkeepDeps, generation: Generation): Promise<void> {
  const isNewest = (await readGenerations(deps.database)).at(-1)?.id === generation.id
  const { perWord } = await deps.form()
  if (isNewest && Math.abs(perWord / generation.perWord - 1) > driftMax) await makeGeneration(deps)
}

/** An index that somebody dropped, made anew or changed is not searched any more: it would answer in part. */
async function retireLost(deps: UpkeepDeps): Promise<void> {
  const { database, log } = deps
  for (const generation of await readGenerations(database)) {
    const looked = await lookAtRanges(deps, generation)
    if (looked === 'ours') continue
    log('search_engine_lost', { index: generation.name, reason: looked })
    await retireGenerations(database, [generation.id])
  }
}

/** With the index of the newest publication: now it shows whether the engine makes what it is asked for. */
async function makeGeneration(deps: UpkeepDeps): Promise<Generation> {
  const { database } = deps
  const generation = newGeneration(await deps.form())
  await noteGeneration(database, generation)
  const [newest] = await database.query<{ publication: number }>(
    'select coalesce(max(publication), 0) as publication from index_publications',
  )
  await makeRanges(deps, generation, [newest?.publication ?? 0])
  await admitGeneration(database, generation)
  return generation
}

/**
 * Searches it from now on in the place of any other, if it would find everything that is shown. Whatever is
 * being shown meanwhile is waited for; what is shown later has to be found in it. Resolves with whether it
 * was another one before.
 */
const bringIntoUse = (database: Database, generation: Generation): Promise<boolean> =>
  database.transaction(async (sql) => {
    const { id } = generation
    await sql.query('lock table search_generations in exclusive mode')
    const lacking = await countRows(
      sql,
      `select from index_publications i where i.is_shown and not exists (
         select from engine_found f where f.generation = $1 and f.publication = i.publication) limit 1`,
      [id],
    )
    if (lacking > 0 || !(await isWaiting(sql, generation))) return false
    const others = await sql.query<{ id: string }>(
      'select id from search_generations where id <> $1 and retired_at is null',
      [id],
    )
    await retireGenerations(
      sql,
      others.map((other) => other.id),
    )
    await sql.query('update search_generations set is_current = true where id = $1', [id])
    return true
  })
