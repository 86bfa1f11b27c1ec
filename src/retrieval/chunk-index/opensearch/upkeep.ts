import type { Log } from '../../../kernel/log.ts'
import { OperatorError } from '../../../kernel/operator-error.ts'
import { countRows, type Database, type Sql } from '../../../store/sql.ts'
import { type Engine, EngineRefused } from './engine.ts'
import { fillGeneration } from './fill.ts'
import {
  type Generation,
  keepGeneration,
  newGeneration,
  readGenerations,
  readRetired,
  retireGenerations,
} from './generations.ts'
import { isOurs, makeIndex, type NewIndex } from './mapping.ts'
import { catchUp, compareGeneration, removeEnded } from './reconcile.ts'

/** What keeps the engine as the database says. */
export interface UpkeepDeps {
  readonly database: Database
  readonly engine: Engine
  readonly log: Log
  /** What a new index is made with. */
  readonly form: () => Promise<NewIndex>
  /**
   * Seconds after its end until a publication is removed. Default 600: longer than a put that began before
   * it.
   */
  readonly graceSeconds?: number
}

/**
 * One turn: drops what is retired, retires an index that is gone or not ours, makes one where there is none,
 * puts what it lacks into one that is not in use, brings it into use, and removes what ended. It may be ended
 * anywhere and is done again. One process at a time, which is the caller's to see to: two would do the work
 * twice.
 */
export async function keepEngine(deps: UpkeepDeps, signal: AbortSignal): Promise<void> {
  const { database, engine, log, graceSeconds = 600 } = deps
  await dropRetired(deps)
  await retireLost(deps)
  const newest = (await readGenerations(database)).at(-1) ?? (await makeGeneration(deps))
  if (await isWaiting(database, newest)) {
    const filled = await fillGeneration({ database, engine }, newest, signal)
    log('search_engine_filled', { index: newest.index, publications: filled })
    if (await bringIntoUse(database, newest)) log('search_engine_in_use', { index: newest.index })
  }
  await removeEnded({ database, engine }, graceSeconds)
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

/**
 * Compares each index with the database; the next turn of {@link keepEngine} mends what lacks or came back.
 */
export async function compareEngine({ database, engine, log }: UpkeepDeps): Promise<void> {
  await catchUp(database)
  for (const generation of await readGenerations(database)) {
    const compared = await compareGeneration({ database, engine }, generation)
    log('search_engine_compared', { index: generation.index, ...compared })
  }
}

async function dropRetired({ database, engine }: UpkeepDeps): Promise<void> {
  for (const { id, index } of await readRetired(database)) {
    await engine
      .ask({ method: 'DELETE', path: `/${index}`, timeoutMs: 30_000 }, () => undefined)
      .catch((error: unknown) => {
        if (!(error instanceof EngineRefused && error.status === 404)) throw error
      })
    await database.query('delete from search_generations where id = $1 and retired_at is not null', [id])
  }
}

/** An index that somebody dropped or changed is not searched any more: it would answer in part. */
async function retireLost({ database, engine, log }: UpkeepDeps): Promise<void> {
  for (const generation of await readGenerations(database)) {
    const ours = await isOurs(engine, generation.index, generation)
    if (ours === true) continue
    log('search_engine_lost', { index: generation.index, reason: ours === undefined ? 'gone' : 'changed' })
    await retireGenerations(database, [generation.id])
  }
}

async function makeGeneration({ database, engine, form }: UpkeepDeps): Promise<Generation> {
  const index = await form()
  const generation = newGeneration(index)
  await makeIndex(engine, generation.index, index)
  if ((await isOurs(engine, generation.index, generation)) !== true)
    throw new OperatorError('The search engine made another index than it was asked for.')
  await keepGeneration(database, generation)
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
