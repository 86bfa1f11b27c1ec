import { z } from 'zod'
import type { Database, Sql } from '../../../store/sql.ts'
import type { IndexedChunk, StagedPublication } from '../port.ts'
import type { Engine } from './engine.ts'
import { type Generation, readGenerations } from './generations.ts'
import { countPassages } from './mapping.ts'
import { listPassages, putPassages, type Removal, removePassages } from './passages.ts'
import { noteFound, passagesOf, raiseVersions, type Versions } from './publisher.ts'
import { makeRanges, rangeOf } from './ranges.ts'

interface Parts {
  readonly database: Database
  readonly engine: Engine
}

// Each of some passages: one request of 5,000.
const removalsAtOnce = 500

/**
 * Makes the engine forget what ended more than so many seconds ago. Resolves with how many publications that
 * were. What ended is in no filter: this is for its secrecy and its place, not for answers.
 */
export async function removeEnded({ database, engine }: Parts, graceSeconds: number): Promise<number> {
  for (let removed = 0; ; ) {
    const ended = await database.query<{ publication: number; chunks: number; version: number }>(
      `select publication, chunks, nextval('engine_versions') as version from (
         select publication, chunks from engine_publications
         where ended_at <= now() - make_interval(secs => $1) and removed_at is null
         order by publication limit $2
       ) e`,
      [graceSeconds, removalsAtOnce],
    )
    if (ended.length === 0) return removed
    const removals: readonly Removal[] = ended.map(({ publication, chunks, version }) => ({
      number: publication,
      chunks,
      version,
    }))
    for (const generation of await readGenerations(database))
      await removePassages(
        engine,
        generation,
        // The engine makes an index for a removal that names none.
        removals.filter(({ number }) => generation.ranges.includes(rangeOf(generation, number))),
      )
    await noteRemoved(
      database,
      ended.map(({ publication }) => publication),
    )
    removed += ended.length
  }
}

const noteRemoved = (database: Database, numbers: readonly number[]): Promise<void> =>
  database.transaction(async (sql) => {
    await sql.query('delete from engine_found where publication = any($1::int[])', [numbers])
    await sql.query('update engine_publications set removed_at = now() where publication = any($1::int[])', [
      numbers,
    ])
    // A put that was late by a day would show as unknown.
    await sql.query(`delete from engine_publications where removed_at < now() - interval '1 day'`)
  })

/**
 * Notes what happened while the service ran without the engine: what was hidden then has ended, and an index
 * that lacks what was shown then is searched no more until it is filled.
 */
export const catchUp = (database: Database): Promise<void> =>
  database.transaction(async (sql) => {
    await sql.query(
      `update engine_publications e set ended_at = now()
       where ended_at is null and not exists (select from index_publications i where i.publication = e.publication)`,
    )
    await sql.query(
      `update search_generations g set is_current = false
       where is_current and exists (select from index_publications i where i.is_shown and not exists (
         select from engine_found f where f.generation = g.id and f.publication = i.publication))`,
    )
  })

/** What a comparison of the engine with the database showed. */
export interface Compared {
  /** Shown, and not found whole: put again by the next filling. */
  readonly lacking: number
  /** Removed, and found again: removed again by the next removal. */
  readonly back: number
  /** Of no publication that the database knows. They are in no filter, and left for people to look at. */
  readonly unknown: number
}

const numbersAtOnce = 10_000
const numberMax = 2_147_483_647

/**
 * Compares what the engine holds with what it shall hold, and notes what is to be done about it. The engine
 * is listed first: what was found since counts as found. Only what is on record as ended is ever removed.
 */
export async function compareGeneration(
  { database, engine }: Parts,
  generation: Generation,
): Promise<Compared> {
  let [lacking, back, unknown] = [0, 0, 0]
  for (let after = 0; after < numberMax; ) {
    const [clock] = await database.query<{ now: string }>('select clock_timestamp()::text as now')
    const before = clock?.now ?? ''
    const listed = await listPassages(engine, generation, after, numbersAtOnce)
    const last = listed.length < numbersAtOnce ? numberMax : (listed.at(-1)?.number ?? numberMax)
    const page = await database.transaction((sql) =>
      comparePage(sql, generation, { before, after, last, listed }),
    )
    lacking += page.lacking
    back += page.back
    unknown += page.unknown
    after = last
  }
  return { lacking, back, unknown }
}

async function comparePage(
  sql: Sql,
  { id }: Generation,
  page: {
    /** Found since is not listed. */
    readonly before: string
    readonly after: number
    readonly last: number
    readonly listed: readonly { readonly number: number; readonly chunks: number }[]
  },
): Promise<Compared> {
  const listed = [page.listed.map(({ number }) => number), page.listed.map(({ chunks }) => chunks)]
  const lacking = await sql.query(
    `delete from engine_found f using index_publications i
     where f.generation = $1 and i.publication = f.publication and i.is_shown
       and f.publication > $2 and f.publication <= $3 and f.found_at < $6::timestamptz
       and i.chunks > coalesce((select l.chunks from unnest($4::int[], $5::int[]) as l (publication, chunks)
         where l.publication = f.publication), 0)
     returning 1`,
    [id, page.after, page.last, ...listed, page.before],
  )
  const back = await sql.query(
    `update engine_publications set removed_at = null
     where publication = any($1::int[]) and removed_at is not null returning 1`,
    [listed[0] ?? []],
  )
  // It would answer in part: until it is filled again, it answers nothing.
  if (lacking.length > 0)
    await sql.query('update search_generations set is_current = false where id = $1', [id])
  const [unknown] = await sql.query<{ count: number }>(
    `select count(*) from unnest($1::int[]) as l (publication)
     where not exists (select from engine_publications e where e.publication = l.publication)`,
    [listed[0] ?? []],
  )
  return { lacking: lacking.length, back: back.length, unknown: unknown?.count ?? 0 }
}

/**
 * Whether the index has fewer passages than were put into it and are in force. Looks in the database first:
 * what is put meanwhile is too many at the worst, and so is what has ended and is not removed yet.
 */
export async function lacksPassages({ database, engine }: Parts, generation: Generation): Promise<boolean> {
  const [shown] = await database.query<{ chunks: number }>(
    `select coalesce(sum(i.chunks), 0)::int as chunks from index_publications i
     join engine_found f on f.publication = i.publication and f.generation = $1 where i.is_shown`,
    [generation.id],
  )
  return (await countPassages(engine, generation.name)) < (shown?.chunks ?? 0)
}

// Of those, as many as have together at most so many chunks; one at least.
const publicationsAtOnce = 1_000
const chunksAtOnce = 2_000

/**
 * Puts everything that is shown and that the generation would not find into it, from what Postgres keeps: all
 * of it into a new index, and what an old one lost. Goes through once, and passes over what is just being
 * changed. Resolves with how many publications it put. May be ended and begun again anywhere.
 */
export async function fillGeneration(
  { database, engine }: { readonly database: Database; readonly engine: Engine },
  generation: Generation,
  signal: AbortSignal,
): Promise<number> {
  let filled = 0
  for (let after = 0; ; ) {
    signal.throwIfAborted()
    const { publications, versions } = await database.transaction((sql) =>
      readLacking(sql, generation, after),
    )
    const last = publications.at(-1)
    if (last === undefined) return filled
    after = last.number
    const passages = publications.flatMap((publication) => passagesOf(publication, versions))
    const numbers = publications.map(({ number }) => number)
    await makeRanges({ database, engine }, generation, numbers)
    await putPassages(engine, generation, passages)
    await noteFound(database, generation, versions)
    filled += publications.length
  }
}

type Content = Pick<StagedPublication, 'number' | 'chunks'>

async function readLacking(
  sql: Sql,
  { id }: Generation,
  after: number,
): Promise<{ readonly publications: readonly Content[]; readonly versions: Versions }> {
  // Locked: what is read is of the version that is noted below. What is just being changed has its turn
  // later.
  const lacking = await sql.query<{ publication: number; doc_no: number; chunks: number }>(
    `select publication, doc_no, chunks from index_publications i
     where is_shown and publication > $3
       and not exists (select from engine_found f where f.generation = $1 and f.publication = i.publication)
     order by publication limit $2 for share of i skip locked`,
    [id, publicationsAtOnce, after],
  )
  const rows = lacking.slice(0, countTogether(lacking))
  // New ones: somebody else's removal counts the old one up.
  const versions = await raiseVersions(
    sql,
    new Map(rows.map(({ publication, chunks }) => [publication, chunks])),
  )
  const chunksByDocument = await readChunks(
    sql,
    rows.map(({ doc_no }) => doc_no),
  )
  return {
    publications: rows.map(({ publication, doc_no }) => ({
      number: publication,
      chunks: chunksByDocument.get(doc_no) ?? [],
    })),
    versions,
  }
}

/** How many, from the first, have together as many chunks as are put at once. One at least. */
function countTogether(rows: readonly { readonly chunks: number }[]): number {
  let chunks = 0
  const end = rows.findIndex((row) => {
    chunks += row.chunks
    return chunks > chunksAtOnce
  })
  return end === -1 ? rows.length : Math.max(1, end)
}

const lexemesForm = z.array(z.tuple([z.string(), z.int()]))
const vectorForm = z.array(z.number())

/** What is shown of these documents, by their numbers. */
async function readChunks(
  sql: Sql,
  docNos: readonly number[],
): Promise<ReadonlyMap<number, readonly IndexedChunk[]>> {
  const rows = await sql.query<{
    chunk_id: string
    doc_no: number
    ordinal: number
    embedding: string | null
    lexemes: unknown
  }>(
    `select c.chunk_id, c.doc_no, c.ordinal, c.embedding::text, coalesce(
       (select jsonb_agg(jsonb_build_array(l.lexeme, cardinality(l.positions))) from unnest(w.tsv) l), '[]'
     ) as lexemes
     from chunks c left join chunk_words w using (chunk_id)
     where c.doc_no = any($1::int[]) order by c.doc_no, c.ordinal`,
    [docNos],
  )
  const chunks = Map.groupBy(rows, ({ doc_no }) => doc_no)
  return new Map(
    [...chunks].map(([docNo, ofDocument]) => [
      docNo,
      ofDocument.map(({ chunk_id, ordinal, embedding, lexemes }) => ({
        chunkId: chunk_id,
        ordinal,
        vector: embedding === null ? undefined : Float32Array.from(vectorForm.parse(JSON.parse(embedding))),
        lexemes: lexemesForm.parse(lexemes).map(([lexeme, count]) => ({ lexeme, count, inTitle: 0 })),
      })),
    ]),
  )
}
