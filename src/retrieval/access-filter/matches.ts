import { createHash } from 'node:crypto'
import { setBit } from '../../kernel/bits.ts'
import { createLru } from '../../kernel/lru.ts'
import { createSerialQueue } from '../../kernel/serial-queue.ts'
import type { Database, SqlValue } from '../../store/sql.ts'
import type { Corpus } from '../corpus/corpus.ts'
import type { Documents } from '../corpus/documents.ts'
import { type Fields, type Filter, filterSql } from '../filter.ts'
import { type MetadataChanges, type MetadataSnapshot, numbersIn, readMetadataChanges } from './column.ts'
import { createColumns } from './columns.ts'
import { type Content, contentOf, narrowed } from './visible.ts'

/**
 * Which documents match a filter: a bit for each document of the corpus, nobody's own, as a column is
 * nobody's own.
 */
export interface Matches {
  /**
   * Those of the content that match, as the database has them now, whichever process wrote last. Throws where
   * the filter is wrong, whatever is in the content. What equals a value is seen in columns, in one
   * statement, once a field is there. Any other filter that was asked before costs one statement, and one
   * more where something of the corpus changed since; another costs two. One look at all documents is under
   * way at a time: whoever sees much waits for their turn, everybody else is answered from among what they
   * see.
   */
  within(content: Content, documents: Documents, filter: Filter): Promise<Content>
}

/** Never written to: a question that still waits may go on from it. */
interface Kept extends MetadataSnapshot {
  readonly bits: Buffer
  /** Of the fields that the filter names, when it was looked at. */
  readonly types: string
}

// Above this part of all numbers, it is quicker to look at all.
const sparse = 1 / 8
// Filters that were asked once by somebody who sees little.
const askedMax = 1_000
// Of a small corpus bits are few, and what holds them is more.
const entriesMax = 10_000

/** The database, the corpus, and the most bytes of bitmaps to keep. */
export interface MatchesDeps {
  readonly database: Database
  readonly corpus: Pick<Corpus, 'onReplaced'>
  /**
   * Of all bitmaps together: default 32 MB, 250 filters where there are a million documents; columns have as
   * much.
   */
  readonly bytesMax?: number
}

/** Keeps bitmaps of the documents that match a filter. They say nothing of who may read them. */
export function createMatches({ database, corpus, bytesMax = 32_000_000 }: MatchesDeps): Matches {
  const columns = createColumns({ database, corpus })
  // A filter may be a megabyte of text: nothing here holds more than its digest.
  const askedKeys = createLru<true>({ entriesMax: askedMax })
  let heldMatches = createHeld(bytesMax)
  // Questions that are under way write to what is dropped.
  corpus.onReplaced(() => {
    heldMatches = createHeld(bytesMax)
  })
  const wholeScans = createSerialQueue()

  function make(
    key: string,
    filter: Filter,
    { fields, snapshot, server }: MetadataChanges,
    documents: Documents,
  ): Promise<Kept> {
    const { making } = heldMatches
    const scansBefore = wholeScans
      .run(() => find(database, filter, fields))
      .then((docNos) => {
        const bits = Buffer.alloc(lengthFor(documents, docNos.at(-1) ?? 0))
        for (const docNo of docNos) setBit(bits, docNo)
        return { bits, types: typesOf(filter, fields), snapshot, server }
      })
      .finally(() => making.delete(key))
    making.set(key, scansBefore)
    return scansBefore
  }

  async function renew(
    match: Kept,
    filter: Filter,
    { fields, snapshot, changed }: MetadataChanges,
    documents: Documents,
  ): Promise<Kept> {
    if (changed === undefined || changed.length === 0) return { ...match, snapshot }
    const matching = await find(database, filter, fields, changed)
    const highestDocNo = changed.reduce((highest, docNo) => Math.max(highest, docNo), 0)
    const bits = Buffer.alloc(Math.max(match.bits.length, lengthFor(documents, highestDocNo)))
    bits.set(match.bits)
    for (const docNo of changed) setBit(bits, docNo, false)
    for (const docNo of matching) setBit(bits, docNo)
    return { ...match, bits, snapshot }
  }

  return {
    async within(content, documents, filter) {
      const few = documents.end * sparse
      const isFew = content.size <= few
      const equal = await columns.within(content, documents, filter)
      if (equal !== undefined) return equal
      const key = createHash('sha256').update(JSON.stringify(filter)).digest('base64url')
      for (;;) {
        const { kept: matchesByKey, making } = heldMatches
        // What was read before this question was asked may lack what was answered since: what it lacks is
        // looked for.
        const previousMatch = (isFew ? undefined : await making.get(key)) ?? matchesByKey.get(key)
        const now = await readMetadataChanges(database, previousMatch)
        let match = previousMatch
        if (
          match?.types === typesOf(filter, now.fields) &&
          now.changed !== undefined &&
          now.changed.length <= few
        )
          match = await renew(match, filter, now, documents)
        else if (isFew && (making.size > 0 || askedKeys.peek(key) === undefined)) {
          // Who sees little need not wait for what is only worth it when it is asked again.
          const found = await find(database, filter, now.fields, content.docNos())
          askedKeys.set(key, true)
          return among(found, documents)
        } else if (
          heldMatches.making !== making ||
          making.has(key) ||
          matchesByKey.get(key) !== previousMatch
        )
          continue
        else match = await make(key, filter, now, documents)
        matchesByKey.set(key, match)
        return narrowed(content, match.bits, documents)
      }
    },
  }
}

function createHeld(bytesMax: number) {
  return {
    kept: createLru<Kept>({
      weightMax: bytesMax,
      entriesMax,
      weightOf: (key, { bits, types, snapshot }) => bits.length + key.length + types.length + snapshot.length,
    }),
    /** By key: under way, or waiting for its turn. */
    making: new Map<string, Promise<Kept>>(),
  }
}

/** In bytes, for all documents there are: its length must not tell of the last that matches. */
const lengthFor = ({ end: docNoEnd }: Documents, docNo: number): number =>
  (Math.max(docNoEnd, docNo) >> 3) + 1

/** All that match, or those among these numbers, ascending. One statement, also over none. */
async function find(
  database: Database,
  filter: Filter,
  fields: Fields,
  among?: Int32Array,
): Promise<Int32Array> {
  const values: SqlValue[] = among === undefined ? [] : [among]
  // `{}` is a filter, too.
  const conditions = [
    among === undefined ? 'true' : 'doc_no = any($1::int[])',
    ...filterSql(filter, fields, values),
  ]
  const [row] = await database.query<{ found: Uint8Array | null }>(
    `select string_agg(int4send(doc_no), '' order by doc_no) as found from documents where ${conditions.join(' and ')}`,
    values,
  )
  return numbersIn(row?.found ?? null)
}

function among(docNos: Int32Array, documents: Documents): Content {
  // Some may be gone since.
  const liveDocNos = docNos.filter((docNo) => documents.chunksOf(docNo) > 0)
  return contentOf(
    liveDocNos,
    liveDocNos.reduce((chunks, docNo) => chunks + documents.chunksOf(docNo), 0),
  )
}

const typesOf = (filter: Filter, fields: Fields): string =>
  JSON.stringify(Object.keys(filter).map((name) => fields.get(name) ?? null))
