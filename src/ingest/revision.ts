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
  /** Of its content. */
  readonly bytes: number
  /** Whether all its chunks wait already, in the index and as texts. */
  readonly isStaged: boolean
}

/** The queue's tasks: one for each accepted revision. */
export interface RevisionTask extends Readonly<Record<string, string | number>> {
  readonly document: string
  readonly revision: number
}

/** Two parameters by which statements find revisions: `unnest($1::int[], $2::bigint[])`. */
export const keysOf = (
  revisions: readonly Pick<Revision, 'docNo' | 'revision'>[],
): readonly [readonly number[], readonly number[]] => [
  revisions.map(({ docNo }) => docNo),
  revisions.map(({ revision }) => revision),
]

/** Those of the revisions that are still the newest that were accepted, by document. */
export async function readRevisions(
  sql: Sql,
  tasks: readonly RevisionTask[],
): Promise<ReadonlyMap<string, Revision>> {
  const rows = await sql.query<Revision>(
    `select d.id, d.doc_no as "docNo", r.revision, r.publication, r.item_no as "itemNo", r.source, r.title, r.mime_type as "mimeType",
       r.access, r.creates, r.retagged, r.deaths, r.deaths_alone as "deathsAlone",
       r.begun_by as "begunBy", octet_length(r.content) as bytes, r.staged_text is not null as "isStaged"
     from unnest($1::text[], $2::bigint[]) as t (id, revision)
     join documents d on d.id = t.id join revisions r on r.doc_no = d.doc_no and r.revision = t.revision
     where d.accepted_revision = r.revision order by d.doc_no`,
    [tasks.map(({ document }) => document), tasks.map(({ revision }) => revision)],
  )
  return new Map(rows.map((row) => [row.id, row]))
}

/** The revision, if it is still the newest that was accepted. */
export const readRevision = async (
  sql: Sql,
  document: string,
  revision: number,
): Promise<Revision | undefined> => (await readRevisions(sql, [{ document, revision }])).get(document)
