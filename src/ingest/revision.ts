import type { Sql } from '../store/sql.ts'
import type { Tag } from './desired-tuples.ts'

/** What the worker needs of an accepted revision. The content's bytes are read on their own. */
export interface Revision {
  readonly id: string
  readonly docNo: number
  readonly revision: number
  /** Its number as a publication, which no other one ever has. */
  readonly publication: number
  readonly itemNo: number
  /** The service that sent it. */
  readonly source: string
  readonly title: string
  readonly mimeType: string
  readonly access: readonly Tag[]
  readonly creates: boolean
  readonly retagged: boolean
  /** Runs that began and did not end: of what was processed beside it, or of itself. */
  readonly deaths: number
  readonly deathsAlone: number
  /** The process whose run began last, and is not known to have ended; null where none is. */
  readonly begunBy: string | null
}

/** The revision, if it is still the newest that was accepted. */
export async function readRevision(
  sql: Sql,
  document: string,
  revision: number,
): Promise<Revision | undefined> {
  const [row] = await sql.query<Revision>(
    `select d.id, d.doc_no as "docNo", r.revision, r.publication, r.item_no as "itemNo", r.source, r.title, r.mime_type as "mimeType",
       r.access, r.creates, r.retagged, r.deaths, r.deaths_alone as "deathsAlone",
       r.begun_by as "begunBy"
     from documents d join revisions r using (doc_no)
     where d.id = $1 and r.revision = $2 and d.accepted_revision = r.revision`,
    [document, revision],
  )
  return row
}
