import { growArray } from '../../kernel/grow-array.ts'
import type { Database, Statement } from '../../store/sql.ts'
import { snapshotColumns } from '../corpus/read.ts'
import type { Fields, FieldType, Filter, Scalar } from '../filter.ts'

/**
 * What each document has in one field, as a number, so that what equals a value is seen without asking
 * anybody. Which values are equal Postgres said: two numbers that it takes for one have one text here.
 */
export interface Column {
  readonly name: string
  readonly type: FieldType
  /** What two bytes count, at most. */
  readonly valuesMax: number
  /** Undefined: there are too many, and what equals one has to be asked. */
  values: Values | undefined
}

interface Values {
  /**
   * By number of a document: its value's place; 0 where it has none of the type, or one that nobody may ask
   * for here.
   */
  codes: Uint16Array<ArrayBuffer>
  readonly places: Map<string, number>
  /** In bytes. */
  text: number
}

/** What was read of documents' metadata is of this moment: whatever it did not show yet is asked again. */
export interface MetadataSnapshot {
  readonly snapshot: string
  readonly server: string
}

/** Declared fields, and the documents whose metadata changed since a snapshot. */
export interface MetadataChanges extends MetadataSnapshot {
  readonly fields: Fields
  /**
   * Numbers of documents whose rows changed since. undefined: by an older copy or another server, which
   * cannot tell.
   */
  readonly changed: Int32Array | undefined
}

/**
 * The fields, and what changed since a snapshot: a trigger sets `changed_in` with whatever changes metadata,
 * or whether a document is found. Of no snapshot nothing did.
 */
const lookStatement: Statement = {
  name: 'filter_look',
  text: `select ${snapshotColumns},
    pg_snapshot_xmax(pg_current_snapshot()) < pg_snapshot_xmax($1::pg_snapshot) as is_older,
    (select coalesce(json_object_agg(name, type), '{}') from fields) as fields,
    (select string_agg(int4send(doc_no), '') from documents
     where changed_in >= pg_snapshot_xmin($1::pg_snapshot)
       and changed_in < pg_snapshot_xmax(pg_current_snapshot())
       and not pg_visible_in_snapshot(changed_in, $1::pg_snapshot)) as changed`,
}

/** In bytes. What is longer is asked of the database, where it is asked for at all. */
const longest = 256
// Room for so many documents more.
const initialCapacity = 4_096
// What a map takes for each, beside the text.
const perValue = 64

/**
 * What a filter wants fields to equal, as the text that stands for it in a column. undefined: it wants
 * something else, or a value that no column has.
 */
export function equalities(filter: Filter): ReadonlyMap<string, readonly string[]> | undefined {
  const textsByField = new Map<string, string[]>()
  for (const [name, condition] of Object.entries(filter)) {
    if (typeof condition === 'object' && !('in' in condition)) return undefined
    const texts: string[] = []
    for (const value of typeof condition === 'object' ? condition.in : [condition]) {
      const text = textOf(value)
      if (text === undefined) return undefined
      texts.push(text)
    }
    textsByField.set(name, texts)
  }
  return textsByField.size === 0 ? undefined : textsByField
}

/**
 * Of a number its decimal digits, as Postgres writes them without zeros at the end; not where JavaScript
 * writes an exponent.
 */
function textOf(value: Scalar): string | undefined {
  const text = String(value)
  if (typeof value === 'number') return /^-?\d+(\.\d+)?$/.test(text) ? text : undefined
  // Postgres takes neither, and says so where it is asked.
  if (!text.isWellFormed() || text.includes('\0')) return undefined
  return Buffer.byteLength(text) <= longest ? text : undefined
}

const metadataRows = `documents d cross join unnest($1::text[], $2::text[]) as f (name, type) cross join lateral (
  select case when jsonb_typeof(d.metadata -> f.name) = f.type then
    case f.type when 'number' then trim_scale((d.metadata ->> f.name)::numeric)::text else d.metadata ->> f.name end
  end as value) v`

/** Looks at all documents. */
export async function readColumn(
  database: Database,
  name: string,
  type: FieldType,
  valuesMax: number,
): Promise<Column> {
  const rows = await database.query<{ value: string; found: Uint8Array }>(
    `select value, string_agg(int4send(doc_no), '') as found from ${metadataRows}
     where octet_length(value) <= ${longest} group by value limit ${valuesMax + 1}`,
    [[name], [type]],
  )
  const values = { codes: new Uint16Array(initialCapacity), places: new Map(), text: 0 }
  const column: Column = { name, type, valuesMax, values }
  for (const { value, found } of rows) for (const docNo of numbersIn(found)) putValue(column, docNo, value)
  return column
}

/** Reads again what these documents have. */
export async function renewColumns(
  database: Database,
  columns: readonly Column[],
  docNos: Int32Array,
): Promise<void> {
  const rows = await database.query<{ doc_no: number; name: string; value: string }>(
    `select doc_no, name, value from ${metadataRows} where doc_no = any($3::int[]) and octet_length(value) <= ${longest}`,
    [columns.map(({ name }) => name), columns.map(({ type }) => type), docNos],
  )
  for (const column of columns) for (const docNo of docNos) putValue(column, docNo, undefined)
  const byName = new Map(columns.map((column) => [column.name, column]))
  for (const { doc_no, name, value } of rows) {
    const column = byName.get(name)
    if (column !== undefined) putValue(column, doc_no, value)
  }
}

function putValue(column: Column, docNo: number, value: string | undefined): void {
  const { values } = column
  if (values === undefined) return
  const { places: valueNumbers } = values
  let valueNumber = value === undefined ? 0 : valueNumbers.get(value)
  if (valueNumber === undefined && value !== undefined) {
    valueNumber = valueNumbers.size + 1
    if (valueNumber > column.valuesMax) {
      column.values = undefined
      return
    }
    valueNumbers.set(value, valueNumber)
    values.text += 2 * value.length
  }
  if (docNo >= values.codes.length)
    values.codes = growArray(values.codes, docNo + (docNo >> 2) + initialCapacity)
  values.codes[docNo] = valueNumber ?? 0
}

/** The bytes that a column takes in memory, roughly. */
export const bytesOf = ({ name, values }: Column): number =>
  2 * name.length +
  (values === undefined ? 0 : 2 * values.codes.length + values.text + perValue * values.places.size)

/**
 * Leaves those bits whose document has one of these values. What is in none of eight documents' bits is
 * passed over; of the others all eight are looked up, so that nothing but the bits themselves says how long
 * it takes.
 */
export function keepEqual(bits: Uint8Array, values: Values, wantedTexts: readonly string[]): void {
  const flags = new Uint8Array(values.places.size + 1)
  for (const text of wantedTexts) {
    const valueNumber = values.places.get(text)
    if (valueNumber !== undefined) flags[valueNumber] = 1
  }
  if (values.codes.length < 8 * bits.length)
    values.codes = growArray(values.codes, 8 * bits.length + initialCapacity)
  const { codes } = values
  for (let byteIndex = 0; byteIndex < bits.length; byteIndex++) {
    const byte = bits[byteIndex] ?? 0
    if (byte === 0) continue
    let equal = 0
    for (let bit = 7; bit >= 0; bit--) equal = (equal << 1) | (flags[codes[8 * byteIndex + bit] ?? 0] ?? 0)
    bits[byteIndex] = byte & equal
  }
}

/** Counts publications of any process from their commit on. */
export async function readMetadataChanges(
  database: Database,
  sinceSnapshot: MetadataSnapshot | undefined,
): Promise<MetadataChanges> {
  const [row] = await database.queryFixedPlan<{
    snapshot: string
    server: string
    is_older: boolean | null
    fields: Record<string, 'string' | 'number' | 'boolean' | 'date'>
    changed: Uint8Array | null
  }>(lookStatement, [sinceSnapshot?.snapshot ?? null])
  if (row === undefined) throw new Error('A statement that always gives a row gave none.')
  const { snapshot, server, is_older: isOlder, fields, changed } = row
  const isOther = isOlder === true || (sinceSnapshot !== undefined && sinceSnapshot.server !== server)
  return {
    snapshot,
    server,
    fields: new Map(Object.entries(fields)),
    changed: isOther ? undefined : numbersIn(changed),
  }
}

/** As `int4send` writes them: bytes are read sooner than as many rows. */
export function numbersIn(bytes: Uint8Array | null): Int32Array {
  if (bytes === null) return new Int32Array(0)
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  return Int32Array.from({ length: bytes.byteLength >> 2 }, (_, index) => view.getInt32(4 * index))
}
