import { record } from '../audit/record.ts'
import type { Why } from '../authz/explain/why.ts'
import type { Gate } from '../authz/gate.ts'
import { AppError } from '../kernel/errors.ts'
import type { Principal } from '../kernel/principal.ts'
import type { Sql } from '../store/sql.ts'
import { byGrants, mayAsk, namedBy, type Presented, type Presenting, shownGrants } from './approvals.ts'
import type { Deadline } from './deadline.ts'
import { liveRevision, readDocument, type WholeDocument } from './read.ts'
import { evidenceOf, supportingTuples } from './release.ts'
import { narrowedCollections } from './scope.ts'

/** Reads one document whole. `not_found` for what is not there and for what may not be read. */
export type DocumentReader = (
  principal: Principal,
  documentId: string,
  deadline: Deadline,
  /** A grant that the agent presents, `g_…`. */
  approval?: string,
) => Promise<WholeDocument>

/** The gate clears; the record is written in the transaction that reads. */
export interface DocumentReaderDeps {
  readonly sql: Sql
  readonly gate: Gate
  readonly presenting: Presenting
  readonly why: Why
}

/**
 * Reads one document whole if the gate clears it. Missing, hidden, forbidden and outside of what the token
 * was narrowed to are the same 404, after the same check: OpenFGA is asked about a missing id as well, so
 * that the time taken tells nothing. So is a document on which OpenFGA alone has no verdict, such as one that
 * is nested too deep: another status would tell that it is there. OpenFGA as a whole not answering is a 503.
 * It is always asked as it is now (`strict`).
 *
 * An agent that may ask for approval is asked about twice, in one call, whatever is there: where it is kept
 * from the document and OpenFGA says that it may be told of it, the answer is 403 `approval_required`. No
 * offer comes of it: those are made by a question. Does NOT check token scopes: the face does.
 */
export function createDocumentReader(dependencies: DocumentReaderDeps): DocumentReader {
  return async (principal, documentId, deadline, approval) => {
    const reading = { principal, documentId, deadline }
    const { document, toldOf } = await dependencies.presenting.answer(
      principal,
      { named: namedBy(principal, approval) },
      (presentedGrants) => readWith(reading, presentedGrants, dependencies),
    )
    if (document !== undefined) return document
    throw toldOf ? approvalRequired() : new AppError('not_found')
  }
}

interface Reading {
  readonly principal: Principal
  readonly documentId: string
  readonly deadline: Deadline
}

interface Read {
  readonly document: WholeDocument | undefined
  /** It is there, and kept from the agent until the person agrees. */
  readonly toldOf: boolean
}

/** Undefined: it would have rested on a use that does not count. */
async function readWith(
  { principal, documentId, deadline: { signal } }: Reading,
  presentedGrants: readonly Presented[],
  { sql, gate, presenting, why: whyReader }: DocumentReaderDeps,
): Promise<Read | undefined> {
  const { collections } = narrowedCollections(principal)
  const clearing = gate.named(principal, {
    documentIds: [documentId],
    grants: shownGrants(presentedGrants),
    tell: mayAsk(principal),
    signal,
  })
  const liveDocument = await liveRevision(sql, documentId, collections)
  const [clearedDocument] = await clearing.clear(liveDocument === undefined ? [] : [liveDocument])
  const document = clearedDocument === undefined ? undefined : await readDocument(sql, clearedDocument)
  const toldOf = liveDocument !== undefined && clearing.tellable.length > 0
  const uses = await presenting.usesOf(clearing, presentedGrants, document === undefined ? [] : [documentId])
  if (uses === undefined) return undefined
  const counts = await presenting.commit({ uses, principal, isSingle: true }, (sql) =>
    record(sql, principal, {
      event: 'document_read',
      document_id: documentId,
      released:
        document === undefined
          ? null
          : {
              ...evidenceOf(clearing.proofOf(documentId)),
              ...byGrants(uses, documentId),
              ...supportingTuples(
                whyReader(principal, {
                  grants: presentedGrants.map(({ id }) => id),
                  modelId: clearing.modelId,
                  documentIds: [documentId],
                  // OpenFGA's of just now.
                  heldYes: () => undefined,
                }),
                documentId,
              ),
            },
      ...(toldOf && { approval_required: true }),
      model_id: clearing.modelId,
      openfga_request_ids: clearing.requestIds,
    }),
  )
  return counts ? { document, toldOf } : undefined
}

/** With what a request for approval looks like; the offer comes from an answer of `POST /retrieve`. */
const approvalRequired = (): AppError =>
  new AppError('approval_required', {
    public:
      'The person has to agree first. Ask POST /retrieve what you need it for: the approval that its answer offers is what POST /approvals takes.',
    members: { authorization_details: [{ type: 'document_access', offer: 'o_…' }] },
  })
