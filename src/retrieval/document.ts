import { record } from '../audit/record.ts'
import type { Gate } from '../authz/gate.ts'
import { AppError } from '../kernel/errors.ts'
import type { Principal } from '../kernel/principal.ts'
import type { Sql } from '../store/sql.ts'
import type { Deadline } from './deadline.ts'
import { proven } from './proven.ts'
import { liveRevision, readDocument, type WholeDocument } from './read.ts'
import { narrowedCollections } from './scope.ts'

// No document ever has it: what is cleared under it reads nothing.
const noRevision = -1

export type DocumentReader = (
  principal: Principal,
  documentId: string,
  deadline: Deadline,
) => Promise<WholeDocument>

/**
 * Reads one document whole if the gate clears it. Missing, hidden, forbidden and outside of what the token
 * was narrowed to are the same 404, after the same check: OpenFGA is asked about a missing id as well, so
 * that the time taken tells nothing. So is a document on which OpenFGA alone has no verdict, such as one that is
 * nested too deep: another status would tell that it is there. OpenFGA as a whole not answering is a 503. It is
 * always asked as it is now (`strict`). Does NOT check token scopes: the face does.
 */
export function createDocumentReader({
  sql,
  gate,
}: {
  readonly sql: Sql
  readonly gate: Gate
}): DocumentReader {
  return async (principal, documentId, { signal }) => {
    const { collections } = narrowedCollections(principal)
    const live = await liveRevision(sql, documentId, collections)
    const clearing = gate.open(principal, { consistency: 'strict', passOver: false, signal })
    const { cleared, stopped } = await clearing.clear([live ?? { documentId, revision: noRevision }])
    if (stopped !== undefined) throw stopped
    const [item] = cleared
    const document = item === undefined ? undefined : await readDocument(sql, item)
    await record(sql, principal, {
      event: 'document_read',
      document_id: documentId,
      released: document === undefined ? null : proven(clearing.proofOf(documentId)),
      model_id: clearing.modelId,
      openfga_request_ids: clearing.requestIds,
    })
    if (document === undefined) throw new AppError('not_found')
    return document
  }
}
