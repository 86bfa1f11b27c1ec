import { ownElapsed } from '../../kernel/elapsed.ts'
import { createLru, type Lru } from '../../kernel/lru.ts'
import { createSerialQueue } from '../../kernel/serial-queue.ts'
import type { Database } from '../../store/sql.ts'
import type { Corpus } from '../corpus/corpus.ts'
import type { Documents } from '../corpus/documents.ts'
import { type Fields, type FieldType, type Filter, filterSql } from '../filter.ts'
import {
  bytesOf,
  type Column,
  equalities,
  keepEqual,
  type MetadataSnapshot,
  readColumn,
  readMetadataChanges,
  renewColumns,
} from './column.ts'
import { type Content, contentIn } from './visible.ts'

/**
 * Fields in memory, nobody's own: what equals a value is seen there, also one that nobody asked for before.
 */
export interface Columns {
  /**
   * Those of the content that match, as the database has them now. One statement; two more where something
   * changed since. Throws where the filter is wrong. undefined: to be asked for, because it wants more than
   * what is equal, a field has too many values, or is not read yet. Then it is, which looks at all documents
   * and which nobody waits for.
   */
  within(content: Content, documents: Documents, filter: Filter): Promise<Content | undefined>
}

/**
 * Every document stands in each column as it was at `since` or later. A column never goes back, so whoever
 * had it before they looked, and saw no change, has what they looked for.
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

/** The database that the columns are read from, and the corpus that numbers documents. */
export interface ColumnsDeps {
  readonly database: Database
  readonly corpus: Pick<Corpus, 'onReplaced'>
  /** Of all columns together: default 32 MB, 16 fields of few values where there are a million documents. */
  readonly bytesMax?: number
  /** A field of more has none. Default 65,535, what two bytes count. */
  readonly valuesMax?: number
  /**
   * Milliseconds before a field is read again that was dropped for others. Default a minute: else it would be
   * for ever.
   */
  readonly restMs?: number
  /** For ages, in milliseconds. Default: this process's (kernel/elapsed.ts). */
  readonly elapsed?: () => number
}

/** Keeps columns of metadata in memory, for filters by equality. */
export function createColumns(dependencies: ColumnsDeps): Columns {
  const { database, corpus, bytesMax = 32_000_000, valuesMax = 65_535, restMs = 60_000 } = dependencies
  const { elapsed = ownElapsed } = dependencies
  const emptyTable = (): Table => ({
    since: undefined,
    fields: new Map(),
    columns: createLru<Column>({
      weightMax: bytesMax,
      entriesMax: columnsMax,
      weightOf: (_, column) => bytesOf(column),
    }),
    reads: new Map(),
  })
  let table = emptyTable()
  let isReading = false
  // Whoever reads for what is dropped writes to that.
  corpus.onReplaced(() => {
    table = emptyTable()
  })

  const isLost = (changed: Int32Array | undefined): changed is undefined =>
    changed === undefined || changed.length > changedMax

  const queue = createSerialQueue()
  const renew = queue.shared(async () => {
    const targetTable = table
    const { changed, fields: _, ...now } = await readMetadataChanges(database, targetTable.since)
    if (isLost(changed)) {
      if (table === targetTable) table = emptyTable()
      return
    }
    const columns = [...targetTable.columns.entries()].map(([, column]) => column)
    if (changed.length > 0 && columns.length > 0) {
      await renewColumns(database, columns, changed)
      // They may weigh more.
      for (const column of columns) targetTable.columns.set(column.name, column)
    }
    targetTable.since = now
  })

  const readLast = (ofTable: Table, name: string, type: FieldType): number => {
    const lastRead = ofTable.reads.get(name)
    return lastRead?.type === type ? lastRead.at : Number.NEGATIVE_INFINITY
  }

  /**
   * One at a time: each looks at all documents. Kept as soon as it is read, so that many take no more room
   * than they may.
   */
  function read(targetTable: Table, fields: readonly (readonly [string, FieldType])[]): void {
    const due = fields.filter(([name, type]) => elapsed() - readLast(targetTable, name, type) >= restMs)
    if (isReading || due.length === 0) return
    isReading = true
    const { since: sinceSnapshot } = targetTable
    const reading = async () => {
      for (const [name, type] of due) {
        const column = await readColumn(database, name, type, valuesMax)
        await queue.run(async () => {
          targetTable.columns.set(name, column)
          targetTable.reads.set(name, { type, at: elapsed() })
          // What the others were told of meanwhile this may lack.
          targetTable.since = sinceSnapshot
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
    ofTable: Table,
    columns: readonly (Column | undefined)[],
    names: readonly string[],
    fields: Fields,
  ) =>
    names.some((name, fieldIndex) => {
      const type = fields.get(name)
      const column = columns[fieldIndex]
      if (type === 'date') return true
      const isFull = column !== undefined && column.type === type && column.values === undefined
      return isFull && elapsed() - readLast(ofTable, name, type) < unfitMs
    })

  return {
    async within(content, documents, filter) {
      const wantedTexts = equalities(filter)
      if (wantedTexts === undefined) return undefined
      const names = [...wantedTexts.keys()]
      if (names.length * 2 * documents.end > bytesMax) return undefined
      for (;;) {
        const tableBefore = table
        const columns = names.map((name) => tableBefore.columns.get(name))
        if (isUnfit(tableBefore, columns, names, tableBefore.fields)) return undefined
        const { fields, changed, ...now } = await readMetadataChanges(database, tableBefore.since)
        // Refuses what is wrong: what it says to ask is not asked.
        filterSql(filter, fields, [])
        tableBefore.fields = fields
        tableBefore.since ??= now
        if (isLost(changed)) {
          if (table === tableBefore) table = emptyTable()
          continue
        }
        if (isUnfit(tableBefore, columns, names, fields)) return undefined
        const missing = names.flatMap((name) => {
          const type = fields.get(name)
          const column = tableBefore.columns.get(name)
          const isThere = column?.type === type && column?.values !== undefined
          return type === undefined || isThere ? [] : [[name, type] as const]
        })
        if (missing.length > 0) {
          read(tableBefore, missing)
          return undefined
        }
        if (changed.length > 0) await renew()
        if (
          table !== tableBefore ||
          names.some((name, fieldIndex) => columns[fieldIndex] !== tableBefore.columns.get(name))
        )
          continue
        const bits = Buffer.from(content.bits())
        for (const [fieldIndex, texts] of [...wantedTexts.values()].entries()) {
          const values = columns[fieldIndex]?.values
          // Another one came, and now there are too many.
          if (values === undefined) return undefined
          keepEqual(bits, values, texts)
        }
        return contentIn(bits, documents.countIn(bits))
      }
    },
  }
}
