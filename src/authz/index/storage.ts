import type { Database, Sql } from '../../store/sql.ts'
import { type Change, type ChangePosition, type StoredTuple, tupleId } from '../fga.ts'

/** How far in the change log something reaches, and what is needed to go on from there. */
export interface Mark {
  readonly position: ChangePosition
  /** Time of the last change read, by OpenFGA's clock; later ones may still be stamped a little earlier. */
  readonly lastChangeAt?: number
  /**
   * The last change read, by {@link changeId}: a log that lacks it is an older copy's. With where it stands,
   * since a version of before would carry it along to another position.
   */
  readonly last?: { readonly id: string; readonly after: string | undefined }
  /** When all tuples were last compared with OpenFGA's, by our clock. */
  readonly reconciledAt: number
}

/** Of no other change of the log. */
export const changeId = ({ operation, tuple }: Change): string =>
  `${operation} ${tupleId(tuple)} ${tuple.writtenAt}`

/**
 * The rows may be newer than the mark, never older: reading on from it makes up for what they have already.
 */
export interface Storage {
  /** undefined where nothing usable is stored for this store. Rows come in pages. */
  load(onPage: (tuples: readonly StoredTuple[]) => void): Promise<Stored | undefined>
  /** What is stored now, without its rows; `isQuiet` when nobody has saved for some seconds. */
  peek(): Promise<(Partial<Stored> & { readonly isQuiet: boolean }) | undefined>
  /** Empties the rows and takes the writing over. Until a `save` with a mark, nothing of it is usable. */
  begin(): Promise<number>
  /** One transaction. Writes only over the version that it is told; undefined: somebody else wrote since. */
  save(batch: Batch): Promise<number | undefined>
}

/** Where the stored tuples stand in the log, and the version that the next save must name. */
export interface Stored {
  readonly mark: Mark
  readonly version: number
}

/** One save. It is refused where another process saved since `version`. */
export interface Batch {
  readonly version: number
  readonly puts: readonly StoredTuple[]
  readonly removes: readonly StoredTuple[]
  /** Left out: the rows come ahead of the mark, which stays. */
  readonly mark?: Mark
}

interface Row extends Omit<StoredTuple, 'condition'> {
  readonly condition: StoredTuple['condition'] | null
}

interface StateRow {
  readonly mark: Mark | null
  readonly filling: number
  readonly version: number
  readonly is_quiet: boolean
}

const pageSize = 10_000
// Longer than whoever writes may pause between two saves of one burst.
const quietSeconds = 10

/** Keeps the replica of one OpenFGA store in Postgres. */
export function createStorage(database: Database, storeId: string): Storage {
  async function state(sql: Sql): Promise<StateRow | undefined> {
    const [row] = await sql.query<StateRow>(
      `select mark, filling, version, saved_at < now() - make_interval(secs => $2) as is_quiet
       from index_state where store_id = $1`,
      [storeId, quietSeconds],
    )
    return row
  }

  return {
    async load(onPage) {
      const stateBefore = await state(database)
      if (stateBefore?.mark === undefined || stateBefore.mark === null) return undefined
      let lastKey: Pick<Row, 'object' | 'relation' | 'user'> = { object: '', relation: '', user: '' }
      for (;;) {
        const rows: Row[] = await database.query<Row>(
          `select object, relation, subject as "user", condition, written_at as "writtenAt" from index_tuples
           where (object, relation, subject) > ($1, $2, $3) order by object, relation, subject limit $4`,
          [lastKey.object, lastKey.relation, lastKey.user, pageSize],
        )
        onPage(rows.map(toStored))
        lastKey = rows.at(-1) ?? lastKey
        if (rows.length < pageSize) break
      }
      const stateAfter = await state(database)
      // Another process began anew while the pages were read: some of them are gone.
      return stateAfter?.filling === stateBefore.filling
        ? { mark: stateBefore.mark, version: stateBefore.version }
        : undefined
    },

    async peek() {
      const row = await state(database)
      return row && { version: row.version, isQuiet: row.is_quiet, ...(row.mark && { mark: row.mark }) }
    },

    begin: () =>
      database.transaction(async (sql) => {
        const [row] = await sql.query<{ version: number }>(
          `insert into index_state (store_id, mark, filling, version) values ($1, null, 1, 1)
           on conflict (single) do update set store_id = $1, mark = null, saved_at = now(),
             filling = index_state.filling + 1, version = index_state.version + 1
           returning version`,
          [storeId],
        )
        await sql.query('delete from index_tuples')
        return row?.version ?? 0
      }),

    save: ({ version, puts, removes, mark }) =>
      database.transaction(async (sql) => {
        const [row] = await sql.query<{ version: number }>(
          `update index_state set version = version + 1, saved_at = now(), mark = coalesce($3, mark)
           where store_id = $1 and version = $2 returning version`,
          [storeId, version, mark ?? null],
        )
        if (row === undefined) return undefined
        await remove(sql, removes)
        await insertTuples(sql, puts)
        return row.version
      }),
  }
}

async function remove(sql: Sql, tuples: readonly StoredTuple[]): Promise<void> {
  if (tuples.length === 0) return
  await sql.query(
    `delete from index_tuples t using unnest($1::text[], $2::text[], $3::text[]) as k (object, relation, subject)
     where t.object = k.object and t.relation = k.relation and t.subject = k.subject`,
    keyColumns(tuples),
  )
}

async function insertTuples(sql: Sql, tuples: readonly StoredTuple[]): Promise<void> {
  if (tuples.length === 0) return
  await sql.query(
    `insert into index_tuples (object, relation, subject, condition, written_at)
     select object, relation, subject, condition::jsonb, written_at
     from unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::bigint[])
       as t (object, relation, subject, condition, written_at)
     on conflict (object, relation, subject) do update
       set condition = excluded.condition, written_at = excluded.written_at`,
    [
      ...keyColumns(tuples),
      tuples.map(({ condition }) => (condition === undefined ? null : JSON.stringify(condition))),
      tuples.map(({ writtenAt }) => writtenAt),
    ],
  )
}

const keyColumns = (tuples: readonly StoredTuple[]): [string[], string[], string[]] => [
  tuples.map(({ object }) => object),
  tuples.map(({ relation }) => relation),
  tuples.map(({ user }) => user),
]

const toStored = ({ condition, ...tuple }: Row): StoredTuple => ({
  ...tuple,
  ...(condition && { condition }),
})

/** What the memory holds at the moment of a save. */
export interface Snapshot {
  mark(): Mark
  /** All tuples, for the first filling. */
  all(): Iterable<StoredTuple>
  /** The tuple of this key now; undefined where there is none. */
  get(tuple: StoredTuple): StoredTuple | undefined
  /** Keys of all that changed since a mark, after bringing the memory to at least where they end. */
  changedSince(mark: Mark): Promise<readonly StoredTuple[]>
}

// What a page takes to send keeps a question waiting: 1 ms for so many, 10 to 25 for five times as many.
const rowsMax = 1_000

/** Keeps the stored rows behind the memory, in bulk and in the background. */
export class Persistence {
  readonly #storage: Storage
  #mustFill: boolean
  #dirty = new Map<string, StoredTuple>()
  // undefined: somebody else writes, or nobody has begun.
  #version: number | undefined
  #stored: Mark | undefined

  /** `anew`: what is stored is of no use and is replaced as soon as can be. */
  constructor(storage: Storage, { anew = false } = {}) {
    this.#storage = storage
    this.#mustFill = anew
  }

  /** Gives what is stored, in pages, for the memory to begin with. undefined: it is of no use. */
  async load(onPage: (tuples: readonly StoredTuple[]) => void): Promise<Mark | undefined> {
    const stored = await this.#storage.load(onPage)
    this.#version = stored?.version
    return stored?.mark
  }

  note(tuples: Iterable<StoredTuple>): void {
    for (const tuple of tuples) this.#dirty.set(tupleId(tuple), tuple)
  }

  /**
   * Stores what was noted, with the mark that it reaches. Rejects when the database fails: nothing is lost by
   * it.
   */
  async save(snapshot: Snapshot): Promise<void> {
    if (this.#version !== undefined) await this.#writeDirty(snapshot)
    if (this.#version !== undefined) return
    const found = await this.#storage.peek()
    // Another process writes: it sees the same log, and what it stores serves us as well.
    if (!this.#mustFill && found !== undefined && !found.isQuiet) {
      this.#dirty.clear()
      return
    }
    await this.#takeOver(snapshot, found)
    await this.#writeDirty(snapshot)
  }

  async #writeDirty(snapshot: Snapshot): Promise<void> {
    const mark = snapshot.mark()
    if (this.#dirty.size === 0 && this.#stored === mark) return
    const dirtyNow = this.#dirty
    this.#dirty = new Map()
    try {
      await this.#write(dirtyNow.values(), snapshot, mark)
    } catch (error) {
      this.#dirty = new Map([...dirtyNow, ...this.#dirty])
      throw error
    }
  }

  /** Whoever wrote is gone, or nobody ever did. */
  async #takeOver(snapshot: Snapshot, found: Partial<Stored> | undefined): Promise<void> {
    if (!this.#mustFill && found?.mark !== undefined && found.version !== undefined) {
      this.note(await snapshot.changedSince(found.mark))
      this.#version = found.version
      return
    }
    this.#version = await this.#storage.begin()
    this.#mustFill = false
    this.#dirty.clear()
    const mark = snapshot.mark()
    await this.#write(snapshot.all(), snapshot, mark)
  }

  /** Rows first, the mark with the last of them: a crash between leaves rows that are newer than the mark. */
  async #write(tuples: Iterable<StoredTuple>, snapshot: Snapshot, mark: Mark): Promise<void> {
    for (const [page, isLast] of pagesOf(tuples)) {
      if (this.#version === undefined) return
      const pageEntries = page.map((tuple) => [tuple, snapshot.get(tuple)] as const)
      this.#version = await this.#storage.save({
        version: this.#version,
        puts: pageEntries.flatMap(([, now]) => now ?? []),
        removes: pageEntries.filter(([, now]) => now === undefined).map(([tuple]) => tuple),
        ...(isLast && { mark }),
      })
    }
    if (this.#version !== undefined) this.#stored = mark
  }
}

/** At least one, which may be empty; made as they are asked for. */
function* pagesOf(tuples: Iterable<StoredTuple>): Generator<readonly [page: StoredTuple[], isLast: boolean]> {
  let page: StoredTuple[] = []
  for (const tuple of tuples) {
    if (page.length === rowsMax) {
      yield [page, false]
      page = []
    }
    page.push(tuple)
  }
  yield [page, true]
}
