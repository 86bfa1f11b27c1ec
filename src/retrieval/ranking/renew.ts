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

/** The database, the scope that words are counted in, and how often it is looked at. */
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

/** Counts the words of the corpus now and then, and stores a snapshot that all processes use. */
export function createRankingStatistics(dependencies: RankingStatisticsDeps): RankingStatistics {
  const { log, everyMs = 60_000 } = dependencies
  const closing = new AbortController()
  let running: Promise<void> = Promise.resolve()

  /** One count at a time. */
  function take(task: () => Promise<void>): Promise<void> {
    const thisRun = running.then(task)
    running = thisRun.catch(() => undefined)
    return thisRun
  }

  const renewIfDue = (): void => {
    take(async () => {
      if (await isOutdated(dependencies)) await renew(dependencies, closing.signal)
    }).catch((error: unknown) => {
      if (closing.signal.aborted) return
      log('background_failed', {
        name: 'ranking_statistics',
        reason: reasonOf(error),
      })
    })
  }
  renewIfDue()
  const timer = setInterval(renewIfDue, everyMs).unref()

  return {
    renew: () => take(() => renew(dependencies, closing.signal)),
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
  const { live: liveChunks, counted, made_at } = row
  if (counted === null || made_at === null) return liveChunks > 0
  return Math.abs(liveChunks - counted) > grownBy * counted || now() - made_at.getTime() > keptMs
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
  const previousSnapshot = await newest(database, scope)
  const collections = scope === 'deployment' ? [null] : await listCollections(database)
  const counted: Counted[] = []
  let passages = 0
  for (const collection of collections) {
    const liveChunks = await countLive(database, collection)
    passages += liveChunks
    if (liveChunks > 0)
      counted.push(await count(database, collection, { live: liveChunks, sampleMax }, signal))
  }
  await database.transaction(async (sql) => {
    if ((await newest(sql, scope, { lock: true })) !== previousSnapshot) return
    const [insertedSnapshot] = await sql.query<{ snapshot: number }>(
      'insert into ranking_snapshots (per, passages) values ($1, $2) returning snapshot',
      [scope, passages],
    )
    if (insertedSnapshot === undefined) return
    for (const corpus of counted) await store(sql, insertedSnapshot.snapshot, corpus)
    await sql.query('delete from ranking_snapshots where snapshot < $1', [insertedSnapshot.snapshot])
  })
}

/** `lock`: nobody else takes it away before the end of the transaction; who waits for that finds it gone. */
async function newest(sql: Sql, scope: Scope, { lock: locked = false } = {}): Promise<number | undefined> {
  const [row] = await sql.query<{ snapshot: number }>(
    `select snapshot from ranking_snapshots where per = $1 order by snapshot desc limit 1 ${locked ? 'for update' : ''}`,
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
  { live: liveChunks, sampleMax }: { readonly live: number; readonly sampleMax: number },
  signal: AbortSignal,
): Promise<Counted> {
  const found = new Map<string, number>()
  let looked = 0
  let wordCount = 0
  let afterId = ''
  while (looked < sampleMax) {
    signal.throwIfAborted()
    const size = Math.min(partSize, sampleMax - looked)
    const samplePage = await sql.query<{ chunk_id: string; words: number }>(
      `select p.chunk_id, p.words from chunk_words p
       where p.chunk_id > $1 and ($2::text is null
         or p.doc_no in (select doc_no from documents where collection = $2))
       order by p.chunk_id limit $3`,
      [afterId, collection, size],
    )
    const lastChunk = samplePage.at(-1)
    if (lastChunk === undefined) break
    const ids = samplePage.map(({ chunk_id }) => chunk_id)
    // ts_stat takes a query as text: only the digests of passages are put into it, as a literal.
    const stat = await sql.query<{ word: string; ndoc: number }>(
      `select word, ndoc
       from ts_stat(format('select tsv from chunk_words where chunk_id = any(%L::text[])', $1::text[]))`,
      [ids],
    )
    for (const { word: lexeme, ndoc } of stat) found.set(lexeme, (found.get(lexeme) ?? 0) + ndoc)
    wordCount += samplePage.reduce((sum, row) => sum + row.words, 0)
    looked += samplePage.length
    afterId = lastChunk.chunk_id
    if (samplePage.length < size) break
  }
  const times = looked === 0 ? 1 : Math.max(1, liveChunks / looked)
  return {
    collection: collection ?? '',
    passages: inSteps(liveChunks),
    wordsOnAverage: averageOf(wordCount, looked),
    words: new Map(
      [...found].filter(([, n]) => n >= leastInSample).map(([lexeme, n]) => [lexeme, inSteps(n * times)]),
    ),
  }
}

async function store(sql: Sql, snapshot: number, corpus: Counted): Promise<void> {
  const { collection, passages, wordsOnAverage, words: wordFrequencies } = corpus
  await sql.query(
    'insert into ranking_corpora (snapshot, collection, passages, words_on_average) values ($1, $2, $3, $4)',
    [snapshot, collection, passages, wordsOnAverage],
  )
  const allWords = [...wordFrequencies]
  for (let offset = 0; offset < allWords.length; offset += rowsMax) {
    const page = allWords.slice(offset, offset + rowsMax)
    await sql.query(
      `insert into ranking_words (snapshot, collection, lexeme, passages)
       select $1, $2, lexeme, passages from unnest($3::text[], $4::int[]) as w (lexeme, passages)`,
      [snapshot, collection, page.map(([lexeme]) => lexeme), page.map(([, n]) => n)],
    )
  }
}
