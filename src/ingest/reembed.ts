import { operator, record } from '../audit/record.ts'
import type { Embedder } from '../embed/embedder.ts'
import { OperatorError } from '../kernel/operator-error.ts'
import type { ChunkVectors } from '../retrieval/chunk-index/port.ts'
import type { Database, Sql } from '../store/sql.ts'
import { isSameModel, noteUnfinished, pinVectors, readStoredVectors } from '../store/vectors.ts'
import { embedTextOf, type StoredPassage } from './embed-text.ts'

/** The new model, and who hears of progress. */
export interface ReembedOptions {
  /** Migrated. No service may use it meanwhile: the caller holds the folder's lock. */
  readonly database: Database
  readonly vectors: ChunkVectors
  readonly embedder: Embedder
  /** A fresh id for the record. */
  readonly newTxn: () => string
  readonly onProgress?: (doneCount: number, total: number) => void
  /** Passages between two commits. A kill loses at most four times as many. Defaults to 256. */
  readonly batchSize?: number
}

/** How many chunks got a vector. */
export interface Reembedded {
  readonly model: string
  /** Passages that got a vector now. */
  readonly passages: number
  /** Every vector was replaced; else only those that lacked were added. */
  readonly replaced: boolean
}

/**
 * Gives every live passage a vector of this model: all of them where the stored ones are another's, else
 * those that lack one. Old vectors go first, in one transaction with the mark that keeps the service from
 * starting, so that no kill leaves vectors of two models. After a kill it goes on; with yet another model it
 * begins anew.
 */
export async function reembed(options: ReembedOptions): Promise<Reembedded> {
  const { database, vectors, embedder, newTxn } = options
  const { pinned, unfinished } = await readStoredVectors(database)
  const current = unfinished ?? pinned
  const replaced = current === undefined || !isSameModel(current, embedder)
  await assertAlone(database, database)
  const rewriting = async (sql: Sql): Promise<void> => {
    const { model, dimensions } = embedder
    await record(sql, operator(newTxn()), {
      event: 'command',
      command: 'reembed',
      arguments: { model, dimensions, replaced },
    })
    if (!replaced) return
    await noteUnfinished(sql, embedder)
    await vectors.shape(sql, dimensions)
    // Who came while the tables were rewritten has not seen the mark.
    await assertAlone(database, sql)
  }
  await database.transaction(rewriting, { msMax: Infinity })
  const passages = await fill(options)
  const finishing = async (sql: Sql): Promise<void> => {
    await prepareAnew(sql, vectors)
    await vectors.finish(sql)
    await pinVectors(sql, embedder)
  }
  await database.transaction(finishing, { msMax: Infinity })
  return { model: embedder.model, passages, replaced }
}

/**
 * What was staged without vectors is prepared once more at the next start: it would be published without
 * them.
 */
async function prepareAnew(sql: Sql, vectors: ChunkVectors): Promise<void> {
  const staged = await vectors.stagedWithout(sql)
  await sql.query(
    `update revisions r set staged_text = null
     from unnest($1::int[], $2::bigint[]) as s (doc_no, revision)
     where r.doc_no = s.doc_no and r.revision = s.revision`,
    [staged.map(({ docNo }) => docNo), staged.map(({ revision }) => revision)],
  )
}

interface Row extends StoredPassage {
  readonly chunk_id: string
}

/** Pages that are embedded at a time: their texts share batches, and none waits for the database. */
const pagesAtOnce = 4

async function fill(options: ReembedOptions): Promise<number> {
  const { database, vectors, embedder, onProgress, batchSize = 256 } = options
  const total = await vectors.countMissing(database)
  const underWay = new Set<Promise<void>>()
  let embeddedCount = 0

  async function fillPage(rows: readonly Row[]): Promise<void> {
    const texts = rows.map((row) =>
      embedTextOf(row, {
        countTokens: (text) => embedder.countTokens(text),
        tokensMax: embedder.tokensMax,
      }),
    )
    let doneBefore = 0
    const embedded = await embedder.embedPassages(texts, {
      onProgress(doneCount) {
        embeddedCount += doneCount - doneBefore
        doneBefore = doneCount
        onProgress?.(embeddedCount, total)
      },
    })
    await vectors.put(
      database,
      rows.flatMap(({ chunk_id }, index) => {
        const vector = embedded[index]
        return vector === undefined ? [] : [{ chunkId: chunk_id, vector }]
      }),
    )
  }

  let filledCount = 0
  try {
    for (let afterId = ''; ; ) {
      const ids = await vectors.missing(database, afterId, batchSize)
      const lastId = ids.at(-1)
      if (lastId === undefined) break
      afterId = lastId
      const rows = await readPassages(database, ids)
      filledCount += rows.length
      const page = fillPage(rows).then(() => void underWay.delete(page))
      // One that failed stays among them, and is told of below.
      page.catch(() => undefined)
      underWay.add(page)
      if (underWay.size >= pagesAtOnce) await Promise.race(underWay)
    }
    await Promise.all(underWay)
  } finally {
    // What was embedded beside one that failed is kept.
    await Promise.allSettled(underWay)
  }
  return filledCount
}

const readPassages = (database: Database, ids: readonly string[]): Promise<Row[]> =>
  database.query<Row>(
    `select t.chunk_id, d.title, t.headings, t.text from chunk_texts t join documents d using (doc_no)
     where t.chunk_id = any($1::text[]) order by t.chunk_id`,
    [ids],
  )

/**
 * On native Postgres a service of another folder may use the same database: it would go on to store and to
 * ask for vectors of the old model. Sees those that connect directly or through a pooler that passes their
 * name on.
 */
async function assertAlone({ kind }: Database, sql: Sql): Promise<void> {
  if (kind === 'pglite') return
  const otherRows = await sql.query(
    `select 1 from pg_stat_activity
     where datname = current_database() and application_name like 'remit %'
       and application_name <> current_setting('application_name')`,
  )
  if (otherRows.length === 0) return
  throw new OperatorError('Another Remit service uses this database. Stop it, then run this again.')
}
