import { publicationOf } from '../../store/in-force.ts'
import type { Sql } from '../../store/sql.ts'
import type { DocumentRow } from './documents.ts'

/** What a read saw, as Postgres writes it: the place to read on from. */
export interface CorpusMark {
  readonly snapshot: string
  /** Transactions from this number on were not begun. */
  readonly end: bigint
  /** When the server began, that was asked: another one that takes its place began at another time. */
  readonly server: string
}

/**
 * A table with a row for each document, which `changed_in` says who changed last. Its columns begin with
 * `doc_no as "docNo"`.
 */
interface DocumentsTable {
  readonly name: string
  readonly columns: string
}

interface Numbered {
  readonly docNo: number
}

interface Marked {
  readonly snapshot: string
  readonly server: string
}

type MarkedRow<Row> = Marked & (Row | { readonly docNo: null })

/** Where a read stands: of whose transactions, and which of them it saw. For any role. */
export const snapshotColumns = `pg_current_snapshot()::text as snapshot, extract(epoch from pg_postmaster_start_time())::text as server`

const isThere = <Row extends Numbered>(row: MarkedRow<Row>): row is Marked & Row => row.docNo !== null

/** Reads all rows, in pages. What is committed meanwhile comes after the place it gives. */
export async function readPages<Row extends Numbered>(
  sql: Sql,
  { name, columns }: DocumentsTable,
  pageSize: number,
  onPage: (rows: readonly Row[]) => void,
): Promise<CorpusMark> {
  let firstRow: Marked | undefined
  for (let lastDocNo = 0; ; ) {
    const rows = await sql.query<MarkedRow<Row>>(
      `select ${snapshotColumns}, d.* from (values (1)) as one
       left join (select ${columns} from ${name} where doc_no > $1 order by doc_no limit $2) d on true`,
      [lastDocNo, pageSize],
    )
    firstRow ??= rows[0]
    const found = rows.filter(isThere<Row>)
    onPage(found)
    lastDocNo = found.at(-1)?.docNo ?? lastDocNo
    if (found.length < pageSize) return corpusMarkOf(firstRow)
  }
}

/**
 * What was committed since a read, whenever it was begun: whatever that read's snapshot did not show. A
 * number that is not given yet came with a copy of another database, whose rows were read when all were.
 */
export async function readChanged<Row extends Numbered>(
  sql: Sql,
  { name, columns }: DocumentsTable,
  { snapshot }: CorpusMark,
): Promise<{ readonly rows: readonly Row[]; readonly seen: CorpusMark }> {
  const rows = await sql.query<MarkedRow<Row>>(
    `select ${snapshotColumns}, d.* from (values (1)) as one
     left join (
       select ${columns} from ${name}
       where changed_in >= pg_snapshot_xmin($1::pg_snapshot)
         and changed_in < pg_snapshot_xmax(pg_current_snapshot())
         and not pg_visible_in_snapshot(changed_in, $1::pg_snapshot)
     ) d on true`,
    [snapshot],
  )
  return { rows: rows.filter(isThere<Row>), seen: corpusMarkOf(rows[0]) }
}

/** Every document that there is or was. */
export const documentsTable: DocumentsTable = {
  name: 'documents',
  columns: `doc_no as "docNo", id, collection, case when live_revision is null or closed then 0 else chunk_count end as chunks,
    ${publicationOf('documents')} as publication`,
}

/** These documents as they are now. */
export const readThese = (sql: Sql, docNos: readonly number[]): Promise<readonly DocumentRow[]> =>
  sql.query<DocumentRow>(`select ${documentsTable.columns} from documents where doc_no = any($1::int[])`, [
    Int32Array.from(docNos),
  ])

/**
 * By what {@link snapshotColumns} gives: `xmin:xmax:in progress`,
 * https://www.postgresql.org/docs/current/functions-info.html
 */
function corpusMarkOf(row: Marked | undefined): CorpusMark {
  const { snapshot = '', server = '' } = row ?? {}
  return { snapshot, end: BigInt(snapshot.split(':')[1] ?? ''), server }
}

/**
 * False: an older copy was put in its place, or another server took over and may lack its last transactions;
 * as soon as it has given their numbers again, nothing else tells. What it lacks has to go.
 */
export const follows = (now: CorpusMark, earlier: CorpusMark): boolean =>
  now.server === earlier.server && now.end >= earlier.end
