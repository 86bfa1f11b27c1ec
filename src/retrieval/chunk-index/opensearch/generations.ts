import { randomBytes } from 'node:crypto'
import type { Database, Sql } from '../../../store/sql.ts'
import type { NewIndex } from './mapping.ts'

/** What a generation is made with. */
export interface NewGeneration extends NewIndex {
  /** How many numbers of publications each of its indices has. */
  readonly width: number
}

/**
 * Indices in the engine, one for each range of numbers, filled from one history of the database. Numbers of
 * publications mean something in them alone.
 */
export interface Generation extends NewGeneration {
  /** Random: no other history gives the same. */
  readonly id: string
  /** Begins the name of each of its indices. */
  readonly name: string
  /** See `digestOf`. */
  readonly lexemeKey: Uint8Array
  /** Those that had an index when it was read, ascending. */
  readonly ranges: readonly number[]
}

interface Row {
  readonly id: string
  readonly lexeme_key: Uint8Array
  readonly dimensions: number
  readonly per_word: number
  readonly width: number
  readonly shards: number
  readonly refresh_ms: number
  readonly ranges: readonly number[]
}

const selected = `select id, lexeme_key, dimensions, per_word, width, shards, refresh_ms,
  array(select range from search_ranges where generation = id and index_uuid is not null order by range) as ranges
  from search_generations`

/** The ones that are searched or being filled, oldest first. */
export async function readGenerations(sql: Sql): Promise<readonly Generation[]> {
  const rows = await sql.query<Row>(`${selected} where retired_at is null order by created_at, id`)
  return rows.map(toGeneration)
}

async function readCurrent(sql: Sql): Promise<Generation | undefined> {
  const rows = await sql.query<Row>(`${selected} where is_current`)
  return rows.map(toGeneration)[0]
}

/** Begins the names of its indices. No other id begins so. */
export const nameOf = (id: string): string => `remit-${id}`

const toGeneration = (row: Row): Generation => ({
  id: row.id,
  name: nameOf(row.id),
  lexemeKey: row.lexeme_key,
  dimensions: row.dimensions,
  perWord: row.per_word,
  width: row.width,
  shards: row.shards,
  refreshMs: row.refresh_ms,
  ranges: row.ranges,
})

/** A generation without an index, of no use yet. */
export function newGeneration(form: NewGeneration): Generation {
  const id = randomBytes(12).toString('hex')
  return { ...form, id, name: nameOf(id), lexemeKey: randomBytes(32), ranges: [] }
}

/**
 * Notes it as a retired one, before an index of it is made: one that is made and never used is dropped like
 * those that were.
 */
export async function noteGeneration(sql: Sql, generation: Generation): Promise<void> {
  const { id, lexemeKey, dimensions, perWord, width, shards, refreshMs } = generation
  await sql.query(
    `insert into search_generations (id, lexeme_key, dimensions, per_word, width, shards, refresh_ms, retired_at)
     values ($1, $2, $3, $4, $5, $6, $7, now())`,
    [id, lexemeKey, dimensions, perWord, width, shards, refreshMs],
  )
}

/**
 * From now on whatever is published has to be found in it, too. Throws where it was dropped meanwhile, or
 * vectors have another number of dimensions by now. Waits for whoever is changing vectors: they would be
 * missed in what it is filled with.
 */
export const admitGeneration = (database: Database, { id }: Generation): Promise<void> =>
  database.transaction(async (sql) => {
    await sql.query('lock table search_generations in exclusive mode')
    const rows = await sql.query(
      `update search_generations set retired_at = null
       where id = $1 and dimensions = (select atttypmod from pg_attribute
         where attrelid = 'chunks'::regclass and attname = 'embedding') returning 1`,
      [id],
    )
    if (rows.length === 0) throw new Error('The vectors changed while an index was made for them.')
  })

/** Which generation is searched. */
export interface CurrentGeneration {
  /** Undefined: none is whole. */
  read(): Promise<Generation | undefined>
  /** It has turned out to be another one, or to have more ranges. */
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
