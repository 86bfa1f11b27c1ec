import { z } from 'zod'
import type { Database, Sql } from '../../../store/sql.ts'
import type { IndexedChunk, StagedPublication } from '../port.ts'
import type { Engine } from './engine.ts'
import type { Generation } from './generations.ts'
import { putPassages } from './passages.ts'
import { noteFound, passagesOf, type Versions } from './publisher.ts'

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
  const versions = await sql.query<{ publication: number; version: number }>(
    `insert into engine_publications (publication, chunks, version)
     select publication, chunks, nextval('engine_versions')
     from unnest($1::int[], $2::int[]) as p (publication, chunks) order by publication
     on conflict (publication) do update
       set version = excluded.version, chunks = greatest(engine_publications.chunks, excluded.chunks)
     returning publication, version`,
    [rows.map(({ publication }) => publication), rows.map(({ chunks }) => chunks)],
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
    versions: new Map(versions.map(({ publication, version }) => [publication, version])),
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
