import type { Log } from '../../kernel/log.ts'
import { reasonOf } from '../../kernel/reason.ts'
import type { Database, Sql } from '../../store/sql.ts'
import { averageOf, inSteps, type Scope } from './weigh.ts'

/** Counts how common words are, now and then. Between two counts nobody's writing moves a rank. */
export interface RankingStatistics extends AsyncDisposable {
  /** Counts now. */
  renew(): Promise<void>
  /** Resolves when no count is going on. */
  idle(): Promise<void>
}

export interface RankingStatisticsDeps {
  readonly database: Database
  readonly scope: Scope
  readonly now: () => number
  readonly log: Log
  /** Milliseconds between two looks at whether the corpus has changed enough. Defaults to a minute. */
  readonly everyMs?: number
  /** Passages that are looked at, of each corpus. Defaults to 100,000. */
  readonly sampleMax?: number
}

// A fifth more or less than was counted, or a day.
const grownBy = 0.2
const keptMs = 86_400_000
// Digests in their order are a sample that nobody chose. A part at a time: PGlite has one session for everybody.
const sampleMaxDefault = 100_000
// What fewer of the passages that were looked at have is not told of, however many those stand for: else one hidden
// passage that fell into the sample would make its words count.
const leastInSample = 10
const partSize = 2_000
const rowsMax = 5_000

export function createRankingStatistics(deps: RankingStatisticsDeps): RankingStatistics {
  const { log, everyMs = 60_000 } = deps
  const closing = new AbortController()
  let running: Promise<void> = Promise.resolve()

  /** One count at a time. */
  function take(work: () => Promise<void>): Promise<void> {
    const mine = running.then(work)
    running = mine.catch(() => undefined)
    return mine
  }

  const look = (): void => {
    take(async () => {
      if (await isOutdated(deps)) await renew(deps, closing.signal)
    }).catch((error: unknown) => {
      if (closing.signal.aborted) return
      log('background_failed', {
        name: 'ranking_statistics',
        reason: reasonOf(error),
      })
    })
  }
  look()
  const timer = setInterval(look, everyMs).unref()

  return {
    renew: () => take(() => renew(deps, closing.signal)),
    idle: () => running,
    async [Symbol.asyncDispose]() {
      clearInterval(timer)
      closing.abort(new Error('The service is shutting down.'))
      await running
    },
  }
}

async function isOutdated({ database, scope, now }: RankingStatisticsDeps): Promise<boolean> {
  const [row] = await database.query<{ live: number; counted: number | null; made_at: Date | null }>(
    `select (select coalesce(sum(chunk_count), 0)::bigint from documents) as live, s.passages as counted, s.made_at
     from (select 1) one
     left join lateral (
       select passages, made_at from ranking_snapshots where per = $1 order by snapshot desc limit 1
     ) s on true`,
    [scope],
  )
  if (row === undefined) return false
  const { live, counted, made_at } = row
  if (counted === null || made_at === null) return live > 0
  return Math.abs(live - counted) > grownBy * counted || now() - made_at.getTime() > keptMs
}

interface Counted {
  readonly collection: string
  readonly passages: number
  readonly wordsOnAverage: number
  /** Lexeme → passages, both in steps; words of few passages are left out. */
  readonly words: ReadonlyMap<string, number>
}

/** Nothing comes of a count during which another one was stored: who stood still would put an older one in its place. */
async function renew(
  { database, scope, sampleMax = sampleMaxDefault }: RankingStatisticsDeps,
  signal: AbortSignal,
): Promise<void> {
  const before = await newest(database, scope)
  const collections = scope === 'deployment' ? [null] : await listCollections(database)
  const counted: Counted[] = []
  let passages = 0
  for (const collection of collections) {
    const live = await countLive(database, collection)
    passages += live
    if (live > 0) counted.push(await count(database, collection, { live, sampleMax }, signal))
  }
  await database.transaction(async (sql) => {
    if ((await newest(sql, scope, { lock: true })) !== before) return
    const [made] = await sql.query<{ snapshot: number }>(
      'insert into ranking_snapshots (per, passages) values ($1, $2) returning snapshot',
      [scope, passages],
    )
    if (made === undefined) return
    for (const corpus of counted) await store(sql, made.snapshot, corpus)
    await sql.query('delete from ranking_snapshots where snapshot < $1', [made.snapshot])
  })
}

/** `lock`: nobody else takes it away before the end of the transaction; who waits for that finds it gone. */
async function newest(sql: Sql, scope: Scope, { lock = false } = {}): Promise<number | undefined> {
  const [row] = await sql.query<{ snapshot: number }>(
    `select snapshot from ranking_snapshots where per = $1 order by snapshot desc limit 1 ${lock ? 'for update' : ''}`,
    [scope],
  )
  return row?.snapshot
}

const listCollections = async (sql: Sql): Promise<string[]> =>
  (await sql.query<{ id: string }>('select id from collections order by id')).map(({ id }) => id)

async function countLive(sql: Sql, collection: string | null): Promise<number> {
  const [row] = await sql.query<{ live: number }>(
    `select coalesce(sum(chunk_count), 0)::bigint as live from documents where $1::text is null or collection = $1`,
    [collection],
  )
  return row?.live ?? 0
}

async function count(
  sql: Sql,
  collection: string | null,
  { live, sampleMax }: { readonly live: number; readonly sampleMax: number },
  signal: AbortSignal,
): Promise<Counted> {
  const found = new Map<string, number>()
  let looked = 0
  let words = 0
  let after = ''
  while (looked < sampleMax) {
    signal.throwIfAborted()
    const size = Math.min(partSize, sampleMax - looked)
    const part = await sql.query<{ chunk_id: string; words: number }>(
      `select p.chunk_id, p.words from chunk_words p
       where p.chunk_id > $1 and ($2::text is null
         or p.doc_no in (select doc_no from documents where collection = $2))
       order by p.chunk_id limit $3`,
      [after, collection, size],
    )
    const last = part.at(-1)
    if (last === undefined) break
    const ids = part.map(({ chunk_id }) => chunk_id)
    // ts_stat takes a query as text: only the digests of passages are put into it, as a literal.
    const stat = await sql.query<{ word: string; ndoc: number }>(
      `select word, ndoc
       from ts_stat(format('select tsv from chunk_words where chunk_id = any(%L::text[])', $1::text[]))`,
      [ids],
    )
    for (const { word, ndoc } of stat) found.set(word, (found.get(word) ?? 0) + ndoc)
    words += part.reduce((sum, row) => sum + row.words, 0)
    looked += part.length
    after = last.chunk_id
    if (part.length < size) break
  }
  const times = looked === 0 ? 1 : Math.max(1, live / looked)
  return {
    collection: collection ?? '',
    passages: inSteps(live),
    wordsOnAverage: averageOf(words, looked),
    words: new Map(
      [...found].filter(([, n]) => n >= leastInSample).map(([word, n]) => [word, inSteps(n * times)]),
    ),
  }
}

async function store(sql: Sql, snapshot: number, corpus: Counted): Promise<void> {
  const { collection, passages, wordsOnAverage, words } = corpus
  await sql.query(
    'insert into ranking_corpora (snapshot, collection, passages, words_on_average) values ($1, $2, $3, $4)',
    [snapshot, collection, passages, wordsOnAverage],
  )
  const all = [...words]
  for (let from = 0; from < all.length; from += rowsMax) {
    const page = all.slice(from, from + rowsMax)
    await sql.query(
      `insert into ranking_words (snapshot, collection, lexeme, passages)
       select $1, $2, lexeme, passages from unnest($3::text[], $4::int[]) as w (lexeme, passages)`,
      [snapshot, collection, page.map(([lexeme]) => lexeme), page.map(([, n]) => n)],
    )
  }
}
