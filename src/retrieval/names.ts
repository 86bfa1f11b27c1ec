import type { Sql } from '../store/sql.ts'
import type { Candidate } from './candidate.ts'
import type { FoundChunk } from './chunk-index/port.ts'
import type { Documents } from './corpus/documents.ts'

/**
 * What was found, under the names of its documents: from memory, and from the database those that are newer. Memory may be
 * behind where an older copy of the database was put in its place: text is read only of a chunk that belongs to the document
 * under whose name it was cleared (read.ts). A document that is gone has no name, and nothing of it is left.
 */
export async function withDocumentIds(
  sql: Sql,
  documents: Pick<Documents, 'idOf'> | undefined,
  found: readonly FoundChunk[],
): Promise<Candidate[]> {
  const missing = found.flatMap(({ docNo }) => (documents?.idOf(docNo) === undefined ? [docNo] : []))
  const newer = missing.length === 0 ? undefined : await readNames(sql, missing)
  return found.flatMap(({ chunkId, docNo, ordinal, score }) => {
    const documentId = newer?.get(docNo) ?? documents?.idOf(docNo)
    return documentId === undefined ? [] : [{ chunkId, documentId, ordinal, score }]
  })
}

async function readNames(sql: Sql, docNos: readonly number[]): Promise<ReadonlyMap<number, string>> {
  const rows = await sql.query<{ doc_no: number; id: string }>(
    'select doc_no, id from documents where doc_no = any($1::int[])',
    [Int32Array.from(docNos)],
  )
  return new Map(rows.map(({ doc_no, id }) => [doc_no, id]))
}
