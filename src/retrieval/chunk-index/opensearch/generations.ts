import { randomBytes } from 'node:crypto'
import type { Database, Sql } from '../../../store/sql.ts'
import type { IndexForm } from './mapping.ts'

/**
 * One index in the engine, filled from one history of the database. Numbers of publications mean something in
 * it alone.
 */
export interface Generation extends IndexForm {
  /** Random: no other history gives the same. */
  readonly id: string
  /** What the index is called. */
  readonly index: string
  /** See `digestOf`. */
  readonly lexemeKey: Uint8Array
  /** What the engine calls this very index; undefined until it is made. */
  readonly uuid: string | undefined
}

interface Row {
  readonly id: string
  readonly lexeme_key: Uint8Array
  readonly dimensions: number
  readonly per_word: number
  readonly index_uuid: string | null
}

/** The ones that are searched or being filled, oldest first. */
export async function readGenerations(sql: Sql): Promise<readonly Generation[]> {
  const rows = await sql.query<Row>(
    `select id, lexeme_key, dimensions, per_word, index_uuid from search_generations
     where retired_at is null order by created_at, id`,
  )
  return rows.map(toGeneration)
}

/** Searched no more, and not dropped by the engine yet. */
export async function readRetired(sql: Sql): Promise<readonly Generation[]> {
  const rows = await sql.query<Row>(
    'select id, lexeme_key, dimensions, per_word, index_uuid from search_generations where retired_at is not null',
  )
  return rows.map(toGeneration)
}

async function readCurrent(sql: Sql): Promise<Generation | undefined> {
  const rows = await sql.query<Row>(
    'select id, lexeme_key, dimensions, per_word, index_uuid from search_generations where is_current',
  )
  return rows.map(toGeneration)[0]
}

const toGeneration = (row: Row): Generation => ({
  id: row.id,
  index: `remit-${row.id}`,
  lexemeKey: row.lexeme_key,
  dimensions: row.dimensions,
  perWord: row.per_word,
  uuid: row.index_uuid ?? undefined,
})

/** A generation that nothing was put into, of no use yet. Its index is the caller's to make. */
export function newGeneration(form: IndexForm): Generation {
  const id = randomBytes(12).toString('hex')
  return { ...form, id, index: `remit-${id}`, lexemeKey: randomBytes(32), uuid: undefined }
}

/**
 * Notes it as a retired one, before its index is made: one that is made and never used is dropped like those
 * that were.
 */
export async function noteGeneration(
  sql: Sql,
  { id, lexemeKey, dimensions, perWord }: Generation,
): Promise<void> {
  await sql.query(
    `insert into search_generations (id, lexeme_key, dimensions, per_word, retired_at)
     values ($1, $2, $3, $4, now())`,
    [id, lexemeKey, dimensions, perWord],
  )
}

/**
 * From now on whatever is published has to be found in it, too. Throws where it was dropped meanwhile, or
 * vectors have another number of dimensions by now. Waits for whoever is changing vectors: they would be
 * missed in what it is filled with.
 */
export const admitGeneration = (database: Database, { id }: Generation, uuid: string): Promise<void> =>
  database.transaction(async (sql) => {
    await sql.query('lock table search_generations in exclusive mode')
    const rows = await sql.query(
      `update search_generations set retired_at = null, index_uuid = $2
       where id = $1 and dimensions = (select atttypmod from pg_attribute
         where attrelid = 'chunks'::regclass and attname = 'embedding') returning 1`,
      [id, uuid],
    )
    if (rows.length === 0) throw new Error('The vectors changed while an index was made for them.')
  })

/** Which generation is searched. */
export interface CurrentGeneration {
  /** Undefined: none is whole. */
  read(): Promise<Generation | undefined>
  /** It has turned out to be another one. */
  forget(): void
}

/** Remembers it. Who searches has to see in the database whether it still is (`resolvePlaces`). */
export function createCurrentGeneration(database: Database): CurrentGeneration {
  let known: Generation | undefined
  return {
    async read() {
      known ??= await readCurrent(database)
      return known
    },
    forget() {
      known = undefined
    },
  }
}
