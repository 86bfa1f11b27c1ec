import { createLru, type Lru } from '../../kernel/lru.ts'
import { createSerialQueue } from '../../kernel/serial-queue.ts'
import type { Database } from '../../store/sql.ts'
import type { Corpus } from '../corpus/corpus.ts'
import type { Documents } from '../corpus/documents.ts'
import { type Fields, type FieldType, type Filter, filterSql } from '../filter.ts'
import { bytesOf, type Column, equalities, keepEqual, readColumn, renewColumns } from './column.ts'
import { type MetadataSnapshot, readMetadataChanges } from './metadata-changes.ts'
import { type Content, contentIn } from './visible.ts'

/** Fields in memory, nobody's own: what equals a value is seen there, also one that nobody asked for before. */
export interface Columns {
  /**
   * Those of the content that match, as the database has them now. One statement; two more where something changed since. Throws
   * where the filter is wrong. undefined: to be asked for, because it wants more than what is equal, a field has too many
   * values, or is not read yet. Then it is, which looks at all documents and which nobody waits for.
   */
  within(content: Content, documents: Documents, filter: Filter): Promise<Content | undefined>
}

/**
 * Every document stands in each column as it was at `since` or later. A column never goes back, so whoever had it before they
 * looked, and saw no change, has what they looked for.
 */
interface Table {
  since: MetadataSnapshot | undefined
  /** As they were declared when somebody looked last. */
  fields: Fields
  readonly columns: Lru<Column>
  /** When each field was read last, and as what. */
  readonly reads: Map<string, { readonly type: FieldType; readonly at: number }>
}

// More than so many changed documents are read sooner with all others.
const changedMax = 10_000
const columnsMax = 1_000
// One of too many values may have fewer by then: those that no document has any more are counted too.
const unfitMs = 3_600_000

export interface ColumnsDeps {
  readonly database: Database
  readonly corpus: Pick<Corpus, 'onReplaced'>
  /** Of all columns together: default 32 MB, 16 fields of few values where there are a million documents. */
  readonly bytesMax?: number
  /** A field of more has none. Default 65,535, what two bytes count. */
  readonly valuesMax?: number
  /** Milliseconds before a field is read again that was dropped for others. Default a minute: else it would be for ever. */
  readonly restMs?: number
  /** Milliseconds that never jump. Default: since the process began. */
  readonly elapsed?: () => number
}

export function createColumns(deps: ColumnsDeps): Columns {
  const { database, corpus, bytesMax = 32_000_000, valuesMax = 65_535, restMs = 60_000 } = deps
  const { elapsed = () => performance.now() } = deps
  const fresh = (): Table => ({
    since: undefined,
    fields: new Map(),
    columns: createLru<Column>({
      weightMax: bytesMax,
      entriesMax: columnsMax,
      weightOf: (_, column) => bytesOf(column),
    }),
    reads: new Map(),
  })
  let table = fresh()
  let isReading = false
  // Whoever reads for what is dropped writes to that.
  corpus.onReplaced(() => {
    table = fresh()
  })

  const isLost = (changed: Int32Array | undefined): changed is undefined =>
    changed === undefined || changed.length > changedMax

  const queue = createSerialQueue()
  const renew = queue.shared(async () => {
    const to = table
    const { changed, fields: _, ...now } = await readMetadataChanges(database, to.since)
    if (isLost(changed)) {
      if (table === to) table = fresh()
      return
    }
    const columns = [...to.columns.entries()].map(([, column]) => column)
    if (changed.length > 0 && columns.length > 0) {
      await renewColumns(database, columns, changed)
      // They may weigh more.
      for (const column of columns) to.columns.set(column.name, column)
    }
    to.since = now
  })

  const readLast = (of: Table, name: string, type: FieldType): number => {
    const last = of.reads.get(name)
    return last?.type === type ? last.at : Number.NEGATIVE_INFINITY
  }

  /** One at a time: each looks at all documents. Kept as soon as it is read, so that many take no more room than they may. */
  function read(to: Table, fields: readonly (readonly [string, FieldType])[]): void {
    const due = fields.filter(([name, type]) => elapsed() - readLast(to, name, type) >= restMs)
    if (isReading || due.length === 0) return
    isReading = true
    const { since } = to
    const reading = async () => {
      for (const [name, type] of due) {
        const column = await readColumn(database, name, type, valuesMax)
        await queue.run(async () => {
          to.columns.set(name, column)
          to.reads.set(name, { type, at: elapsed() })
          // What the others were told of meanwhile this may lack.
          to.since = since
        })
      }
    }
    reading()
      // Whoever asks next reads again.
      .catch(() => undefined)
      .finally(() => {
        isReading = false
      })
  }

  /** Dates are equal where their instants are, which Postgres says. */
  const isUnfit = (
    of: Table,
    columns: readonly (Column | undefined)[],
    names: readonly string[],
    fields: Fields,
  ) =>
    names.some((name, at) => {
      const type = fields.get(name)
      const column = columns[at]
      if (type === 'date') return true
      const isFull = column !== undefined && column.type === type && column.values === undefined
      return isFull && elapsed() - readLast(of, name, type) < unfitMs
    })

  return {
    async within(content, documents, filter) {
      const wanted = equalities(filter)
      if (wanted === undefined) return undefined
      const names = [...wanted.keys()]
      if (names.length * 2 * documents.end > bytesMax) return undefined
      for (;;) {
        const from = table
        const columns = names.map((name) => from.columns.get(name))
        if (isUnfit(from, columns, names, from.fields)) return undefined
        const { fields, changed, ...now } = await readMetadataChanges(database, from.since)
        // Refuses what is wrong: what it says to ask is not asked.
        filterSql(filter, fields, [])
        from.fields = fields
        from.since ??= now
        if (isLost(changed)) {
          if (table === from) table = fresh()
          continue
        }
        if (isUnfit(from, columns, names, fields)) return undefined
        const missing = names.flatMap((name) => {
          const type = fields.get(name)
          const column = from.columns.get(name)
          const isThere = column?.type === type && column?.values !== undefined
          return type === undefined || isThere ? [] : [[name, type] as const]
        })
        if (missing.length > 0) {
          read(from, missing)
          return undefined
        }
        if (changed.length > 0) await renew()
        if (table !== from || names.some((name, at) => columns[at] !== from.columns.get(name))) continue
        const bits = Buffer.from(content.bits())
        for (const [at, texts] of [...wanted.values()].entries()) {
          const values = columns[at]?.values
          // Another one came, and now there are too many.
          if (values === undefined) return undefined
          keepEqual(bits, values, texts)
        }
        return contentIn(bits, documents.countIn(bits))
      }
    },
  }
}
