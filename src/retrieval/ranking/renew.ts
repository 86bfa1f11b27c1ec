import { createFollower, type Follower } from '../../kernel/follower.ts'
import type { Log } from '../../kernel/log.ts'
import { reasonOf } from '../../kernel/reason.ts'
import type { Database, Sql } from '../../store/sql.ts'
import type { WordSampler } from '../chunk-index/port.ts'
import { averageOf, inSteps, type Scope } from './weigh.ts'

/** Counts how common words are, now and then. Between two counts nobody's writing moves a rank. */
export interface RankingStatistics extends AsyncDisposable {
  /** Counts now. */
  renew(): Promise<void>
  /** Counts now if that is due, or waits for whoever does. Never rejects. */
  poll(): Promise<void>
}

/** The database, who samples words, the scope that they are counted in, and how often it is looked at. */
export interface RankingStatisticsDeps {
  readonly database: Database
  readonly sampler: WordSampler
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
// Digests in their order are a sample that nobody chose. A part at a time: PGlite has one session for
// everybody.
const sampleMaxDefault = 100_000
// What fewer of the passages that were looked at have is not told of, however many those stand for: else one
// hidden passage that fell into the sample would make its words count.
const leastInSample = 10
const partSize = 2_000
const rowsMax = 5_000

/**
 * Counts the words of the corpus now and then, one count at a time, and stores a snapshot that all processes
 * use.
 */
export function createRankingStatistics(dependencies: RankingStatisticsDeps): RankingStatistics {
  const { log, everyMs = 60_000 } = dependencies
  const closing = new AbortController()
  const countNow = () => renew(dependencies, closing.signal)
  const follower: Follower = createFollower({
    read: countNow,
    poll: () =>
      follower.run(async () => {
        if (await isOutdated(dependencies)) await countNow()
      }),
    pollMs: everyMs,
    onFailed: (error) => log('background_failed', { name: 'ranking_statistics', reason: reasonOf(error) }),
  })
  follower.start(0)
  return {
    renew: follower.refresh,
    poll: () => follower.poll(),
    async [Symbol.asyncDispose]() {
      closing.abort(new Error('The service is shutting down.'))
      await follower[Symbol.asyncDispose]()
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

/**
 * Nothing comes of a count during which another one was stored: who stood still would put an older one in its
 * place.
 */
async function renew(
  { database, sampler, scope, sampleMax = sampleMaxDefault }: RankingStatisticsDeps,
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
      counted.push(await count(sampler, collection, { live: liveChunks, sampleMax }, signal))
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
  sampler: WordSampler,
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
    const { chunkIds, words, chunksByLexeme } = await sampler.sample(afterId, size, collection)
    for (const [lexeme, chunks] of chunksByLexeme) found.set(lexeme, (found.get(lexeme) ?? 0) + chunks)
    wordCount += words
    looked += chunkIds.length
    afterId = chunkIds.at(-1) ?? afterId
    if (chunkIds.length < size) break
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
