import { createHash } from 'node:crypto'
import { createLimiter, type Limiter } from '../../authz/gate/limiter.ts'
import { assertNotAborted } from '../../kernel/assert-not-aborted.ts'
import { setBit } from '../../kernel/bits.ts'
import { createLru } from '../../kernel/lru.ts'
import { unlessAborted } from '../../kernel/with-timeout.ts'
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
   * way at a time, and nobody waits for another filter's: they are answered from among what they see. Of one
   * person two such looks at a time. Nothing begins once the signal fired.
   */
  within(content: Content, documents: Documents, filter: Filter, asker?: Asker): Promise<Content>
}

/** For whom it is asked: their looks wait for each other alone, and no longer than the request lasts. */
export interface Asker {
  readonly person?: string
  readonly signal?: AbortSignal | undefined
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
// Of one person: what may be read, and what the agent may be told of. All else of theirs waits, so that one
// person does not fill the connections.
const looksMax = 2
const personsMax = 1_000
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
  let isLooking = false
  const turnsByPerson = createLru<Limiter>({ entriesMax: personsMax })

  function turnsOf(person: string): Limiter {
    const turns = turnsByPerson.get(person) ?? createLimiter(looksMax)
    turnsByPerson.set(person, turns)
    return turns
  }

  /** Goes on to its end, and is kept, also where whoever asked is gone by then. */
  function make(
    key: string,
    filter: Filter,
    { fields, snapshot, server }: MetadataChanges,
    documents: Documents,
  ): Promise<Kept> {
    const { kept: matchesByKey, making } = heldMatches
    isLooking = true
    const look = find(database, filter, fields)
      .then((docNos) => {
        const bits = Buffer.alloc(lengthFor(documents, docNos.at(-1) ?? 0))
        for (const docNo of docNos) setBit(bits, docNo)
        const match = { bits, types: typesOf(filter, fields), snapshot, server }
        matchesByKey.set(key, match)
        return match
      })
      .finally(() => {
        isLooking = false
        making.delete(key)
      })
    making.set(key, look)
    return look
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
    async within(content, documents, filter, { person = '', signal } = {}) {
      const few = documents.end * sparse
      const isFew = content.size <= few
      const equal = await columns.within(content, documents, filter)
      if (equal !== undefined) return equal
      const key = createHash('sha256').update(JSON.stringify(filter)).digest('base64url')
      const inTime = <T>(look: Promise<T>): Promise<T> =>
        signal === undefined ? look : unlessAborted(look, signal)
      for (;;) {
        assertNotAborted(signal)
        const { kept: matchesByKey, making } = heldMatches
        const look = isFew ? undefined : making.get(key)
        // What was read before this question was asked may lack what was answered since: what it lacks is
        // looked for.
        const previousMatch = (look && (await inTime(look))) ?? matchesByKey.get(key)
        const now = await readMetadataChanges(database, previousMatch)
        // Who sees little need not wait for what is only worth it when it is asked again.
        const isAmong = isLooking ? isFew || !making.has(key) : isFew && askedKeys.peek(key) === undefined
        let match = previousMatch
        if (
          match?.types === typesOf(filter, now.fields) &&
          now.changed !== undefined &&
          now.changed.length <= few
        )
          match = await renew(match, filter, now, documents)
        else if (isAmong) {
          const found = await turnsOf(person).run(1, signal, () =>
            find(database, filter, now.fields, content.docNos()),
          )
          askedKeys.set(key, true)
          return among(found, documents)
        } else if (
          heldMatches.making !== making ||
          making.has(key) ||
          matchesByKey.get(key) !== previousMatch
        )
          continue
        else {
          assertNotAborted(signal)
          match = await inTime(make(key, filter, now, documents))
        }
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
    /** By key: under way. */
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
