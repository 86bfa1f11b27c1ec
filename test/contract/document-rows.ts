import type { Database } from '../../src/store/sql.ts'
import type { Subject } from './chunk-index.ts'

/** The rows of documents that an index belongs to, as ingestion keeps them, in a collection of their own. */
export async function openDocumentRows(
  database: Database,
): Promise<Pick<Subject, 'newDocument' | 'noteLive' | 'noteHidden' | 'transaction'>> {
  await database.query(`insert into collections (id, title) values ('c', 'c')`)
  let documents = 0
  return {
    async newDocument() {
      documents += 1
      const [row] = await database.query<{ doc_no: number }>(
        `insert into documents (id, collection) values ($1, 'c') returning doc_no`,
        [`d/${documents}`],
      )
      return row?.doc_no ?? 0
    },
    noteLive: async (sql, { docNo, revision, number }, chunks) => {
      await sql.query(
        'update documents set live_revision = $2, publication = $3, chunk_count = $4 where doc_no = $1',
        [docNo, revision, number, chunks],
      )
    },
    noteHidden: async (sql, docNo) => {
      await sql.query(
        'update documents set live_revision = null, publication = null, chunk_count = 0 where doc_no = $1',
        [docNo],
      )
    },
    transaction: (work) => database.transaction(work),
  }
}
