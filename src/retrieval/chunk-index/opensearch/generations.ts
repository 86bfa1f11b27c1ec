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
}

interface Row {
  readonly id: string
  readonly lexeme_key: Uint8Array
  readonly dimensions: number
  readonly per_word: number
}

/** The ones that are searched or being filled, oldest first. */
export async function readGenerations(sql: Sql): Promise<readonly Generation[]> {
  const rows = await sql.query<Row>(
    `select id, lexeme_key, dimensions, per_word from search_generations
     where retired_at is null order by created_at, id`,
  )
  return rows.map(toGeneration)
}

/** Searched no more, and not dropped by the engine yet. */
export async function readRetired(sql: Sql): Promise<readonly Generation[]> {
  const rows = await sql.query<Row>(
    'select id, lexeme_key, dimensions, per_word from search_generations where retired_at is not null',
  )
  return rows.map(toGeneration)
}

async function readCurrent(sql: Sql): Promise<Generation | undefined> {
  const rows = await sql.query<Row>(
    'select id, lexeme_key, dimensions, per_word from search_generations where is_current',
  )
  return rows.map(toGeneration)[0]
}

const toGeneration = (row: Row): Generation => ({
  id: row.id,
  index: `remit-${row.id}`,
  lexemeKey: row.lexeme_key,
  dimensions: row.dimensions,
  perWord: row.per_word,
})

/** A generation that nothing was put into, of no use yet. Its index is the caller's to make. */
export function newGeneration(form: IndexForm): Generation {
  const id = randomBytes(12).toString('hex')
  return { ...form, id, index: `remit-${id}`, lexemeKey: randomBytes(32) }
}

/** Keeps it, so that whatever is published from now on has to be found in it, too. */
export async function keepGeneration(
  sql: Sql,
  { id, lexemeKey, dimensions, perWord }: Generation,
): Promise<void> {
  await sql.query(
    'insert into search_generations (id, lexeme_key, dimensions, per_word) values ($1, $2, $3, $4)',
    [id, lexemeKey, dimensions, perWord],
  )
}

/** Ends all generations, or those given: nothing is searched in them from the caller's commit on. */
export async function retireGenerations(sql: Sql, ids?: readonly string[]): Promise<void> {
  await sql.query(
    `update search_generations set is_current = false, retired_at = now()
     where retired_at is null and ($1::text[] is null or id = any($1))`,
    [ids ?? null],
  )
}

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
