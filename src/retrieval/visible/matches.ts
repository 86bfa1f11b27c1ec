import { setBit } from '../../kernel/bits.ts'
import type { Database, SqlValue, Statement } from '../../store/sql.ts'
import type { Documents } from '../corpus/documents.ts'
import { type Fields, type Filter, filterSql } from '../filter.ts'
import { createBounded } from './bounded.ts'
import { type Content, contentOf, narrowed } from './visible.ts'

/** Which documents match a filter: a bit for each document of the corpus, nobody's own, as a column is nobody's own. */
export interface Matches {
  /**
   * Those of the content that match, as the database has them now, whichever process wrote last. Throws where the filter is
   * wrong, whatever is in the content. A filter that was asked before costs one statement, and one more where
   * something of the corpus changed since; another costs two.
   */
  within(content: Content, documents: Documents, filter: Filter): Promise<Content>
}

/** Never written to: a question that still waits may go on from it. */
interface Kept {
  readonly bits: Buffer
  /** Of the fields that the filter names, when it was looked at. */
  readonly types: string
  /** Whatever this did not show yet is asked again. */
  readonly snapshot: string
}

interface Now {
  readonly snapshot: string
  readonly fields: Fields
  /** Numbers of documents whose rows changed since. undefined: the database is an older copy of itself. */
  readonly changed: Int32Array | undefined
}

// Above this part of all numbers, it is quicker to look at all.
const sparse = 1 / 8
// Filters that were asked once by somebody who sees little.
const askedMax = 1_000

/** `bytesMax` of all bitmaps together: default 64 MB, 500 filters where there are a million documents. */
export function createMatches(database: Database, bytesMax = 64_000_000): Matches {
  const kept = createBounded<Kept>(bytesMax)
  const making = new Map<string, Promise<Kept>>()
  const asked = new Set<string>()

  function make(key: string, filter: Filter, { fields, snapshot }: Now): Promise<Kept> {
    const made = find(database, filter, fields)
      .then((docNos) => {
        const bits = Buffer.alloc(((docNos.at(-1) ?? 0) >> 3) + 1)
        for (const docNo of docNos) setBit(bits, docNo)
        return { bits, types: typesOf(filter, fields), snapshot }
      })
      .finally(() => making.delete(key))
    making.set(key, made)
    return made
  }

  async function renew(one: Kept, filter: Filter, { fields, snapshot, changed }: Now): Promise<Kept> {
    if (changed === undefined || changed.length === 0) return { ...one, snapshot }
    const matching = await find(database, filter, fields, changed)
    const end = changed.reduce((most, docNo) => Math.max(most, docNo), 0)
    const bits = Buffer.alloc(Math.max(one.bits.length, (end >> 3) + 1))
    bits.set(one.bits)
    for (const docNo of changed) setBit(bits, docNo, false)
    for (const docNo of matching) setBit(bits, docNo)
    return { ...one, bits, snapshot }
  }

  return {
    async within(content, documents, filter) {
      const key = JSON.stringify(filter)
      const few = documents.end * sparse
      for (;;) {
        // What was read before this question was asked may lack what was answered since: what it lacks is looked for.
        const before = (await making.get(key)) ?? kept.get(key)
        const now = await look(database, before?.snapshot)
        let one = before
        if (
          one?.types === typesOf(filter, now.fields) &&
          now.changed !== undefined &&
          now.changed.length <= few
        )
          one = await renew(one, filter, now)
        else if (making.has(key) || kept.get(key) !== before) continue
        else if (content.size <= few && !asked.has(key)) {
          // Who sees little need not wait for what is only worth it when it is asked again.
          note(asked, key)
          return among(await find(database, filter, now.fields, content.docNos()), documents)
        } else one = await make(key, filter, now)
        kept.set(key, one)
        return narrowed(content, one.bits, documents)
      }
    },
  }
}

/**
 * The fields, and what changed since a snapshot: metadata of a live document changes with its revision only, and
 * `changed_in` with that. Of no snapshot nothing did.
 */
const lookStatement: Statement = {
  name: 'filter_look',
  text: `select pg_current_snapshot()::text as snapshot,
    pg_snapshot_xmax(pg_current_snapshot()) < pg_snapshot_xmax($1::pg_snapshot) as is_older,
    (select coalesce(json_object_agg(name, type), '{}') from fields) as fields,
    (select string_agg(int4send(doc_no), '') from documents
     where changed_in >= pg_snapshot_xmin($1::pg_snapshot)
       and changed_in < pg_snapshot_xmax(pg_current_snapshot())
       and not pg_visible_in_snapshot(changed_in, $1::pg_snapshot)) as changed`,
}

async function look(database: Database, since: string | undefined): Promise<Now> {
  const [row] = await database.forced<{
    snapshot: string
    is_older: boolean | null
    fields: Record<string, 'string' | 'number' | 'boolean' | 'date'>
    changed: Uint8Array | null
  }>(lookStatement, [since ?? null])
  if (row === undefined) throw new Error('A statement that always gives a row gave none.')
  const { snapshot, is_older: isOlder, fields, changed } = row
  return {
    snapshot,
    fields: new Map(Object.entries(fields)),
    changed: isOlder === true ? undefined : numbersIn(changed),
  }
}

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

/** As `int4send` writes them: bytes are read sooner than as many rows. */
function numbersIn(bytes: Uint8Array | null): Int32Array {
  if (bytes === null) return new Int32Array(0)
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  return Int32Array.from({ length: bytes.byteLength >> 2 }, (_, at) => view.getInt32(4 * at))
}

function among(docNos: Int32Array, documents: Documents): Content {
  // Some may be gone since.
  const live = docNos.filter((docNo) => documents.chunksOf(docNo) > 0)
  return contentOf(
    live,
    live.reduce((chunks, docNo) => chunks + documents.chunksOf(docNo), 0),
  )
}

const typesOf = (filter: Filter, fields: Fields): string =>
  JSON.stringify(Object.keys(filter).map((name) => fields.get(name) ?? null))

function note(asked: Set<string>, key: string): void {
  asked.add(key)
  const [oldest] = asked
  if (asked.size > askedMax && oldest !== undefined) asked.delete(oldest)
}
