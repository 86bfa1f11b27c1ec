import { AppError } from '../../../kernel/errors.ts'
import { OperatorError } from '../../../kernel/operator-error.ts'
import type { Database, Sql } from '../../../store/sql.ts'
import { type ChunkPublisher, NotFound, type Publication, type StagedPublication } from '../port.ts'
import { createPublisher, stageIn } from '../postgres/publisher.ts'
import { type Engine, EngineRefused } from './engine.ts'
import { type CurrentGeneration, type Generation, readGenerations } from './generations.ts'
import { listPassages, type Passage, putPassages } from './passages.ts'
import { makeRanges } from './ranges.ts'

/** Where chunks go: to Postgres first, which keeps them, and to the engine, which finds them. */
export interface EnginePublisherDeps {
  readonly database: Database
  readonly engine: Engine
  readonly current: CurrentGeneration
}

/**
 * Publishes in Postgres as ever. `stage` resolves once every copy of every generation finds the chunks, and
 * `show` throws {@link NotFound} until then. What ends is noted in the same transaction, for whoever makes
 * the engine forget it.
 */
export function createEnginePublisher({ database, engine, current }: EnginePublisherDeps): ChunkPublisher {
  // What lies in partitions of the IVF is never looked for.
  const stored = createPublisher({ database, assign: async () => undefined })
  return {
    async stage(publications) {
      const { staged, versions, generations } = await database.transaction(async (sql) => {
        const staged = await stageIn(sql, database.vectorType, publications)
        return {
          staged,
          versions: await renewVersions(sql, staged),
          generations: await readGenerations(sql),
        }
      })
      // Before anything is hidden for it: what none would find has to stay as it is.
      if (generations.length === 0) asOutage(new EngineRefused('there is no index'))
      const passages = staged.flatMap((publication) => passagesOf(publication, versions))
      for (const generation of generations) {
        const numbers = staged.map(({ number }) => number)
        await makeRanges({ database, engine }, generation, numbers).catch(asOutage)
        await putPassages(engine, generation, passages).catch(asOutage)
        await noteFound(database, generation, versions)
      }
    },

    async show(sql, publications) {
      await assertFound(sql, publications)
      await endShown(
        sql,
        publications.map(({ docNo }) => docNo),
        publications.map(({ number }) => number),
      )
      return stored.show(sql, publications)
    },

    async hide(sql, docNos) {
      await endShown(sql, docNos, [])
      await stored.hide(sql, docNos)
    },

    async forget(sql, publication) {
      await stored.forget(sql, publication)
      await sql.query(
        `update engine_publications set ended_at = now()
         where publication = $1 and ended_at is null
           and not exists (select from index_publications i where i.publication = $1)`,
        [publication.number],
      )
    },

    async listed(after, limit) {
      const generation = await current.read()
      if (generation === undefined) return asOutage(new EngineRefused('no index is whole'))
      const listed = await listPassages(engine, generation, after, limit).catch(asOutage)
      return listed.map(({ number }) => number)
    },

    lacksVector: stored.lacksVector,
  }
}

/** As ingestion knows a store that is away: no document is given up for it. */
function asOutage(error: unknown): never {
  if (!(error instanceof EngineRefused || error instanceof OperatorError)) throw error
  throw new AppError('storage_unavailable', { internal: error.message, cause: error })
}

/** Versions of contents by publication. */
export type Versions = ReadonlyMap<number, number>

/** New contents: they are found nowhere yet. The caller's transaction holds the publications' rows. */
async function renewVersions(sql: Sql, publications: readonly StagedPublication[]): Promise<Versions> {
  const counts = new Map(publications.map(({ number, chunks }) => [number, chunks.length]))
  const versions = await raiseVersions(sql, counts)
  await sql.query('delete from engine_found where publication = any($1::int[])', [[...counts.keys()]])
  return versions
}

/**
 * Gives each publication the next version, with how many chunks it has: what was put or removed under an
 * earlier one is older.
 */
export async function raiseVersions(
  sql: Sql,
  chunksByPublication: ReadonlyMap<number, number>,
): Promise<Versions> {
  const rows = await sql.query<{ publication: number; version: number }>(
    `insert into engine_publications (publication, chunks, version)
     select publication, chunks, nextval('engine_versions')
     from unnest($1::int[], $2::int[]) as p (publication, chunks) order by publication
     on conflict (publication) do update
       set version = excluded.version, chunks = greatest(engine_publications.chunks, excluded.chunks)
     returning publication, version`,
    [[...chunksByPublication.keys()], [...chunksByPublication.values()]],
  )
  return new Map(rows.map(({ publication, version }) => [publication, version]))
}

/** A publication's chunks as the engine gets them. */
export const passagesOf = (
  { number, chunks }: Pick<StagedPublication, 'number' | 'chunks'>,
  versions: Versions,
): readonly Passage[] =>
  chunks.map(({ ordinal, vector, lexemes }) => ({
    number,
    version: versions.get(number) ?? 0,
    ordinal,
    vector,
    lexemes,
  }))

/**
 * Notes that the generation finds these versions. One that is not the newest any more is passed over: whoever
 * put the newest will say so. So is one whose index was dropped meanwhile.
 */
export async function noteFound(sql: Sql, { id, width }: Generation, versions: Versions): Promise<void> {
  await sql.query(
    // Locked: a version that is just being renewed is waited for.
    `with newest as (
       select e.publication from engine_publications e
       join unnest($2::int[], $3::bigint[]) as p (publication, version) using (publication, version)
       order by e.publication for share of e
     )
     insert into engine_found (generation, publication) select $1, publication from newest
     where publication / $4 in (
       select range from search_ranges where generation = $1 and index_uuid is not null)
     on conflict do nothing`,
    [id, [...versions.keys()], [...versions.values()], width],
  )
}

/** Throws {@link NotFound} where one that is not shown yet would not be found, or was ended. */
async function assertFound(sql: Sql, publications: readonly Publication[]): Promise<void> {
  const numbers = publications.map(({ number }) => number)
  // The same lock as of `stage`, and in its order: no version is renewed from here on.
  await sql.query(
    'select from index_publications where publication = any($1::int[]) order by publication for update',
    [numbers],
  )
  // Whoever brings a new generation into use waits for this transaction, and then sees what it has shown.
  const generations = await sql.query<{ id: string }>(
    'select id from search_generations where retired_at is null order by id for share',
  )
  const [lacking] = await sql.query<{ publication: number }>(
    `select p.publication from unnest($1::int[]) as p (publication)
     where not exists (select from index_publications i where i.publication = p.publication and i.is_shown)
       and (cardinality($2::text[]) = 0
         or not exists (select from engine_publications e where e.publication = p.publication and e.ended_at is null)
         or exists (select from unnest($2::text[]) as g (id) where not exists (
           select from engine_found f where f.generation = g.id and f.publication = p.publication)))
     order by p.publication limit 1`,
    [numbers, generations.map(({ id }) => id)],
  )
  if (lacking !== undefined) throw new NotFound(lacking.publication)
}

/** Notes the end of what the documents show, but for these publications. */
async function endShown(sql: Sql, docNos: readonly number[], staying: readonly number[]): Promise<void> {
  // First, as everybody does: two that lock in another order would wait for each other.
  await sql.query(
    'select from index_publications where doc_no = any($1::int[]) and is_shown order by publication for update',
    [docNos],
  )
  await sql.query(
    `update engine_publications e set ended_at = now() from index_publications i
     where i.doc_no = any($1::int[]) and i.is_shown and i.publication <> all($2::int[])
       and e.publication = i.publication and e.ended_at is null`,
    [docNos, staying],
  )
}
