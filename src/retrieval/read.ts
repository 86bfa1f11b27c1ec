import type { DecisionEvent } from '@remit/contract/decision-event'
import { recordColumns, recordRow, recordValues } from '../audit/record.ts'
import type { Cleared } from '../authz/gate.ts'
import { splitObject } from '../kernel/ids.ts'
import { outermostActor, type Principal } from '../kernel/principal.ts'
import { isStillInForce } from '../store/in-force.ts'
import { isOpen } from '../store/open-document.ts'
import type { Database, Sql, Statement } from '../store/sql.ts'
import type { Candidate } from './candidate.ts'

/** A passage with its citation. */
export interface Passage {
  readonly chunkId: string
  readonly documentId: string
  readonly collection: string
  readonly title: string
  readonly uri: string | null
  readonly ordinal: number
  readonly text: string
  readonly locator: {
    readonly headings: readonly string[]
    readonly page?: number
    readonly start: number
    readonly end: number
  }
  readonly provenance: Provenance
}

/** Where a passage comes from. */
export interface Provenance {
  readonly owner?: string
  readonly source: string
  readonly updatedAt: string | null
}

/** A document's text with what it is cited by. */
export interface WholeDocument {
  readonly id: string
  readonly collection: string
  readonly title: string
  readonly uri: string | null
  readonly text: string
  readonly metadata: Readonly<Record<string, unknown>>
  readonly provenance: Provenance
}

interface ProvenanceRow {
  readonly owner: string | null
  readonly source: string
  readonly updatedAt: Date | null
}

interface PassageRow extends Omit<Passage, 'locator' | 'provenance'>, ProvenanceRow {
  readonly headings: readonly string[]
  readonly page: number | null
  readonly start: number
  readonly end: number
}

const provenanceColumns = 'd.owner, d.source, d.source_updated_at as "updatedAt"'

const passageColumns = `t.chunk_id as "chunkId", d.id as "documentId", d.collection, d.title, d.uri, t.ordinal, t.text, t.headings,
  t.page, t.start_offset as start, t.end_offset as "end", ${provenanceColumns}`
/** Of a source whose permissions nobody confirmed for too long, nothing is read, whatever was cleared. */
const isOpenD = isOpen({ source: 'd.source', id: 'd.id' })
/**
 * Only of the document under whose name a chunk was cleared, and of what it had in force then: names may come
 * from memory, and that be behind; and somebody may have been taken off before the next was published.
 */
const passagesFrom = (
  documentIds: number,
): string => `unnest($1::text[], $${documentIds}::text[], $${documentIds + 1}::int[]) as cleared (chunk_id, id, publication)
  join chunk_texts t using (chunk_id) join documents d using (doc_no)
  where d.id = cleared.id and ${isStillInForce('d', 'cleared.publication')} and ${isOpenD}`

/**
 * Loads the text of cleared candidates, in their order. With {@link readRecorded} the only statement that
 * joins text to a search: uncleared candidates do not type-check here. What was withdrawn or replaced
 * meanwhile is left out.
 */
export async function readPassages(sql: Sql, candidates: readonly Cleared<Candidate>[]): Promise<Passage[]> {
  if (candidates.length === 0) return []
  const rows = await sql.query<PassageRow>(`select ${passageColumns} from ${passagesFrom(2)}`, [
    chunkIds(candidates),
    documentIds(candidates),
    publications(candidates),
  ])
  return inOrder(candidates, rows)
}

/** Planned once a connection: planning it took longer than running it. */
export const recordedStatement: Statement = {
  name: 'read_recorded',
  text: `with passage as materialized (select ${passageColumns} from ${passagesFrom(5)}),
   recorded as (
     insert into decision_records (${recordColumns})
     select ${recordRow(7)}
     where (select count(*) from passage) = cardinality($1::text[])
       and ($2::text is null or not exists (
         select from approval_grants
         where subject = $3 and agent = $2 and delegation = $4 and state = 'live' and remembered
       ))
     returning record_no
   )
   select passage.* from recorded left join passage on true`,
}

/** The record to write with what is read, in one statement. */
export interface Recording {
  readonly principal: Principal
  readonly decision: DecisionEvent
  /** It is not known that no remembered approval could have been presented. */
  readonly isUnchecked: boolean
}

/**
 * The same, and their record in the same statement: it says that all of them left. Undefined, and nothing is
 * on record: one of them was withdrawn meanwhile, or where nobody had looked there is a remembered approval
 * to present.
 */
export async function readRecorded(
  database: Database,
  candidates: readonly Cleared<Candidate>[],
  { principal, decision, isUnchecked }: Recording,
): Promise<Passage[] | undefined> {
  const agent = outermostActor(principal)
  const rows = await database.queryFixedPlan<PassageRow | { readonly chunkId: null }>(recordedStatement, [
    chunkIds(candidates),
    isUnchecked && agent !== undefined ? splitObject(agent).id : null,
    principal.subject,
    principal.delegation ?? null,
    documentIds(candidates),
    publications(candidates),
    ...recordValues(principal, decision),
  ])
  return rows.length === 0 ? undefined : inOrder(candidates, rows)
}

const chunkIds = (candidates: readonly Candidate[]): string[] => candidates.map(({ chunkId }) => chunkId)
const documentIds = (candidates: readonly Candidate[]): string[] =>
  candidates.map(({ documentId }) => documentId)
const publications = (candidates: readonly Candidate[]): Int32Array =>
  Int32Array.from(candidates, ({ publication }) => publication)

function inOrder(
  candidates: readonly Candidate[],
  rows: readonly (PassageRow | { readonly chunkId: null })[],
): Passage[] {
  const byId = new Map<string, PassageRow>()
  for (const row of rows) if (row.chunkId !== null) byId.set(row.chunkId, row)
  return candidates.flatMap(({ chunkId }) => {
    const row = byId.get(chunkId)
    return row === undefined ? [] : [toPassage(row)]
  })
}

/** One published state of a document. */
export interface Revision {
  readonly documentId: string
  readonly revision: number
}

/** What is live now within `collections` (all, where undefined), without a word of it. */
export async function liveRevision(
  sql: Sql,
  documentId: string,
  collections: readonly string[] | undefined,
): Promise<Revision | undefined> {
  const [row] = await sql.query<{ live_revision: number }>(
    `select d.live_revision from documents d
     where d.id = $1 and d.live_revision is not null and ($2::text[] is null or d.collection = any($2)) and ${isOpenD}`,
    [documentId, collections ?? null],
  )
  return row === undefined ? undefined : { documentId, revision: row.live_revision }
}

/**
 * Loads one cleared document whole, or undefined when it is gone. Reads the very revision that was cleared:
 * one that was published since may be for other readers.
 */
export async function readDocument(
  sql: Sql,
  { documentId, revision }: Cleared<Revision>,
): Promise<WholeDocument | undefined> {
  const [row] = await sql.query<Omit<WholeDocument, 'provenance'> & ProvenanceRow>(
    `select d.id, d.collection, d.title, d.uri, t.text, d.metadata, ${provenanceColumns}
     from documents d join document_texts t using (doc_no)
     where d.id = $1 and d.live_revision = $2 and ${isOpenD}`,
    [documentId, revision],
  )
  if (row === undefined) return undefined
  // Each member by its name: all that is here leaves.
  const { id, collection, title, uri, text, metadata } = row
  return { id, collection, title, uri, text, metadata, provenance: provenanceOf(row) }
}

function toPassage({
  headings,
  page,
  start,
  end,
  owner,
  source,
  updatedAt,
  ...passage
}: PassageRow): Passage {
  return {
    ...passage,
    locator: { headings, ...(page !== null && { page }), start, end },
    provenance: provenanceOf({ owner, source, updatedAt }),
  }
}

const provenanceOf = ({ owner, source, updatedAt }: ProvenanceRow): Provenance => ({
  ...(owner !== null && { owner }),
  source,
  updatedAt: updatedAt?.toISOString() ?? null,
})
