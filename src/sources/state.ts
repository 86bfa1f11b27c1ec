import { memoryState, type SyncMemory, type SyncState, type SyncUpdate } from '@remit/connector'
import { movedTo, moveInSources } from '../store/moved.ts'
import { isOpenDocument, sourcePrefix } from '../store/open-document.ts'
import type { Sql } from '../store/sql.ts'

/** Where a source's state is kept. */
export interface SourceStateDeps {
  readonly id: string
  /** When this reading began: what it settles was as the source had it then or later. */
  readonly beganAt: Date
  /** Everything that was read before is read again. */
  readonly crawls: boolean
  /** Commits only while this process may write for the source. */
  readonly transaction: <T>(work: (sql: Sql) => Promise<T>) => Promise<T>
}

/** A state in Postgres, and what the reading that uses it is a part of. */
export interface SourceState extends SyncState {
  /** When the reading of everything began that this one begins, or goes on with; undefined: it is none. */
  readonly crawlBeganAt: () => Date | undefined
}

/** What a sync remembers of a source, in its rows. */
export function createSourceState({ id, beganAt, crawls, transaction }: SourceStateDeps): SourceState {
  let crawlBeganAt: Date | undefined
  return {
    crawlBeganAt: () => crawlBeganAt,
    load: () =>
      transaction(async (sql) => {
        await followMoves(sql, id)
        const memory = await readMemory(sql, id, crawls)
        if (memory.cursor !== undefined) return memory
        // One that came to nothing begins now.
        if (memory.crawlCursor === undefined && memory.brought.size === 0)
          await applyUpdate(sql, id, beganAt, { crawlCursor: null })
        crawlBeganAt = await readCrawlBegin(sql, id)
        return memory
      }),
    apply: (update) =>
      transaction(async (sql) => {
        await applyUpdate(sql, id, beganAt, update)
        if (update.cursor === null) crawlBeganAt = await readCrawlBegin(sql, id)
      }),
  }
}

/**
 * Whoever was moved is remembered by the key of now, whatever wrote the old one: a version before this, or a
 * reading or a yes beside the move. Else what the source takes away would be sought under a key that has
 * nothing, and count as gone.
 */
export async function followMoves(sql: Sql, id: string): Promise<void> {
  // Where nobody was moved, no tuple is looked at.
  const rows = await sql.query<{ subject: string }>(
    `with moved as (select 'user:' || old_key as subject from person_moves)
     select subject from source_people where source = $1 and subject in (select subject from moved)
     union select split_part(tuple, ' ', 1) from source_tuples where exists (select from moved)
       and source = $1 and tuple like 'user:%/%' and split_part(tuple, ' ', 1) in (select subject from moved)`,
    [id],
  )
  const moved = await movedTo(
    sql,
    rows.map(({ subject }) => subject),
  )
  for (const [from, to] of moved) await moveInSources(sql, from, to, id)
}

const readCrawlBegin = async (sql: Sql, id: string): Promise<Date | undefined> =>
  (await sql.query<{ at: Date }>('select crawl_began_at as at from sources where id = $1', [id]))[0]?.at

async function readMemory(sql: Sql, id: string, crawls: boolean): Promise<SyncMemory> {
  const [row] = await sql.query<{ cursor: string | null; crawl_cursor: string | null }>(
    'select cursor, crawl_cursor from sources where id = $1',
    [id],
  )
  const items = await sql.query<ItemRow>(
    `select i.document, i.settled, i.access, coalesce(i.told_in = s.crawl, false) as told,
       case when i.brought_in = s.crawl then i.brought_version end as brought
     from source_items i join sources s on s.id = i.source where i.source = $1 and i.missing_at is null`,
    [id],
  )
  const tuples = await sql.query<{ tuple: string; settled: boolean }>(
    'select tuple, settled from source_tuples where source = $1',
    [id],
  )
  const memory = memoryState()
  await memory.apply({
    ...(row !== undefined && row.cursor !== null && !crawls && { cursor: row.cursor }),
    ...(row !== undefined && row.crawl_cursor !== null && { crawlCursor: row.crawl_cursor }),
    told: items.filter(({ told: isTold }) => isTold).map(({ document }) => document),
    brought: items.flatMap(({ document, brought: version }) =>
      version === null ? [] : [[document, version] as const],
    ),
    begun: items.map(({ document }) => document),
    settled: items.filter(({ settled: isSettled }) => isSettled).map(({ document }) => document),
    accesses: items.flatMap(({ document, access }) => (access === null ? [] : [[document, access] as const])),
    tuplesBegun: tuples.map(({ tuple }) => tuple),
    tuplesSettled: tuples.filter(({ settled: isSettled }) => isSettled).map(({ tuple }) => tuple),
  })
  return memory.load()
}

interface ItemRow {
  readonly document: string
  readonly settled: boolean
  readonly access: string | null
  /** By the reading of everything that goes on. */
  readonly told: boolean
  /** The version that was brought in since it began. */
  readonly brought: string | null
}

async function applyUpdate(sql: Sql, id: string, beganAt: Date, update: SyncUpdate): Promise<void> {
  const { cursor, begun: begunIds = [], settled: settledIds = [], resettled: againIds = [] } = update
  const { forgotten = [], accesses = [] } = update
  const { tuplesBegun = [], tuplesSettled = [], tuplesForgotten = [] } = update
  if (cursor !== undefined) await sql.query('update sources set cursor = $2 where id = $1', [id, cursor])
  if (begunIds.length > 0)
    await sql.query(
      `insert into source_items (source, document) select $1, document from unnest($2::text[]) as begun (document)
       on conflict (source, document) do update set settled = false, missing_at = null`,
      [id, begunIds],
    )
  if (settledIds.length > 0)
    await sql.query(
      `update source_items set settled = true, confirmed_at = $3, hidden = null where source = $1 and document = any($2)`,
      [id, settledIds, beganAt],
    )
  if (againIds.length > 0)
    await sql.query(
      'update source_items set settled = true, hidden = null where source = $1 and document = any($2)',
      [id, againIds],
    )
  if (settledIds.length + againIds.length > 0)
    await sql.query(
      `update documents set closed = not ${isOpenDocument}
       where id = any($2) and source = $1 and closed = ${isOpenDocument}`,
      [`${sourcePrefix}${id}`, [...settledIds, ...againIds]],
    )
  // What the source does not tell any more stays hidden until it is purged: see `hideMissing`.
  if (forgotten.length > 0)
    await sql.query(
      'delete from source_items where source = $1 and document = any($2) and missing_at is null',
      [id, forgotten],
    )
  if (accesses.length > 0)
    await sql.query(
      `update source_items i set access = a.access from unnest($2::text[], $3::text[]) as a (document, access)
       where i.source = $1 and i.document = a.document`,
      [id, accesses.map(([document]) => document), accesses.map(([, access]) => access)],
    )
  if (tuplesBegun.length > 0)
    await sql.query(
      `insert into source_tuples (source, tuple, settled) select $1, tuple, false from unnest($2::text[]) as begun (tuple)
       on conflict (source, tuple) do update set settled = false`,
      [id, tuplesBegun],
    )
  if (tuplesSettled.length > 0)
    await sql.query('update source_tuples set settled = true where source = $1 and tuple = any($2)', [
      id,
      tuplesSettled,
    ])
  if (tuplesForgotten.length > 0)
    await sql.query('delete from source_tuples where source = $1 and tuple = any($2)', [id, tuplesForgotten])
  await applyCrawl(sql, id, beganAt, update)
}

/** Another number makes what was told be of an earlier reading of everything. */
async function applyCrawl(
  sql: Sql,
  id: string,
  beganAt: Date,
  { crawlCursor, told: toldIds = [], brought = [] }: Pick<SyncUpdate, 'crawlCursor' | 'told' | 'brought'>,
): Promise<void> {
  if (crawlCursor === null)
    await sql.query(
      'update sources set crawl_cursor = null, crawl = crawl + 1, crawl_began_at = $2 where id = $1',
      [id, beganAt],
    )
  else if (crawlCursor !== undefined)
    await sql.query('update sources set crawl_cursor = $2 where id = $1', [id, crawlCursor])
  if (toldIds.length > 0)
    await sql.query(
      `update source_items i set told_in = s.crawl from sources s
       where i.source = $1 and s.id = $1 and i.document = any($2)`,
      [id, toldIds],
    )
  if (brought.length > 0)
    await sql.query(
      `update source_items i set brought_in = s.crawl, brought_version = b.version
       from sources s, unnest($2::text[], $3::text[]) as b (document, version)
       where i.source = $1 and s.id = $1 and i.document = b.document`,
      [id, brought.map(([document]) => document), brought.map(([, version]) => version)],
    )
}

/**
 * Takes items out of every search and read, with the reason; `isMissing`: the source does not have it any
 * more.
 */
export async function hideItems(
  sql: Sql,
  id: string,
  documents: readonly string[],
  { reason, isMissing = false }: { readonly reason: string; readonly isMissing?: boolean },
): Promise<void> {
  await sql.query(
    `update source_items set hidden = $3, missing_at = case when $4 then coalesce(missing_at, now()) else missing_at end,
       -- Told before it went: a reading of everything that goes on has to be told it again.
       told_in = case when $4 then null else told_in end
     where source = $1 and document = any($2)`,
    [id, documents, reason, isMissing],
  )
  await sql.query(`update documents set closed = true where id = any($2) and source = $1 and not closed`, [
    `${sourcePrefix}${id}`,
    documents,
  ])
}
