import type { DecisionEvent, Proven, Released } from '@remit/contract/decision-event'
import { record } from '../audit/record.ts'
import type { Why } from '../authz/explain/why.ts'
import type { Cleared, Clearing, Proof } from '../authz/gate.ts'
import type { Principal } from '../kernel/principal.ts'
import type { Database } from '../store/sql.ts'
import { type Approvals, byGrants, type Presenting, type Uses } from './approvals.ts'
import type { Attempt } from './attempts.ts'
import type { Candidate, Mode } from './candidate.ts'
import type { Question } from './question.ts'
import { type Passage, readPassages, readRecorded } from './read.ts'

/** What is to leave, and what the record needs of how it was cleared. */
export interface Releasing extends Omit<Attempt, 'mayOffer'> {
  readonly principal: Principal
  readonly question: Question
  readonly queryHmac: string
  readonly modeUsed: Mode
  readonly clearing: Clearing
  readonly cleared: readonly Cleared<Candidate>[]
  /** Of which the agent may be told, and be offered to ask. */
  readonly tellable: readonly string[]
  readonly complete: boolean
  /** Nothing is given where a passage was withdrawn or replaced meanwhile: it can be asked anew. */
  readonly mayAskAnew: boolean
}

/** The database and the grants, whose uses are counted with the release. */
export interface ReleaseDeps {
  readonly sql: Database
  readonly approvals: Approvals
  readonly presenting: Presenting
  readonly why: Why
  /** Whether the record keeps what was asked, not only its digest. */
  readonly keepsQueries: boolean
}

/** Passages that were recorded and may leave. */
export interface Release {
  readonly passages: readonly Passage[]
  readonly complete: boolean
  readonly offer?: string
}

/**
 * Reads what was cleared and puts it on record, with the uses of the grants that it rests on and the offer
 * that is made: an answer that nobody can account for is not given. In the usual case one statement.
 * Undefined: it would have rested on a use that does not count, or lacked what could be presented.
 * `outdated`: see {@link Releasing.mayAskAnew}. Then nothing is on record.
 */
export async function release(
  releasing: Releasing,
  dependencies: ReleaseDeps,
): Promise<Release | 'outdated' | undefined> {
  const { sql, approvals, presenting } = dependencies
  const {
    principal,
    queryHmac,
    presented: presentedGrants,
    clearing,
    cleared,
    tellable,
    isUnchecked,
  } = releasing
  if (presentedGrants.length === 0 && tellable.length === 0) {
    const { complete } = releasing
    const decision = eventOf(releasing, { items: cleared, uses: noUses, complete }, dependencies)
    const passages = await readRecorded(sql, cleared, { principal, decision, isUnchecked })
    if (passages !== undefined) return { passages, complete }
  }
  if (isUnchecked && (await approvals.presentable(principal, { named: [] })).length > 0) return undefined
  const passages = await readPassages(sql, cleared)
  // Withdrawn or replaced since it was found: another passage would stand in its place.
  const isWhole = passages.length === cleared.length
  if (!isWhole && releasing.mayAskAnew) return 'outdated'
  const isComplete = releasing.complete && isWhole
  const documentIds = [...new Set(passages.map(({ documentId }) => documentId))]
  const uses = await presenting.usesOf(clearing, presentedGrants, documentIds)
  if (uses === undefined) return undefined
  if (tellable.length > 0) releasing.lookNextTime()
  let offer: string | undefined
  const used = { uses, principal, queryHmac, isSingle: tellable.length === 0 }
  const counts = await presenting.commit(used, async (sql) => {
    offer =
      tellable.length === 0
        ? undefined
        : await approvals.makeOfferWithin(sql, principal, { queryHmac, documentIds: tellable })
    await record(sql, principal, {
      ...eventOf(releasing, { items: passages, uses, complete: isComplete }, dependencies),
      ...(offer !== undefined && { offer }),
    })
  })
  return counts ? { passages, complete: isComplete, ...(offer !== undefined && { offer }) } : undefined
}

const noUses: Uses = { byDocument: new Map(), grants: [] }

interface Leaving {
  readonly items: readonly { readonly documentId: string; readonly chunkId: string }[]
  readonly uses: Uses
  readonly complete: boolean
}

function eventOf(
  { principal, question, queryHmac, modeUsed, presented: presentedGrants, clearing }: Releasing,
  { items: releasedItems, uses, complete: isComplete }: Leaving,
  { why: whyReader, keepsQueries }: ReleaseDeps,
): Extract<DecisionEvent, { readonly event: 'retrieved' }> {
  const { considered, denied, passedOver, errors } = clearing.counts
  const grants = presentedGrants.map(({ id }) => id)
  const documentIds = [...new Set(releasedItems.map(({ documentId }) => documentId))]
  const { modelId, cachedAllow: heldYes } = clearing
  const reasons = whyReader(principal, { grants, modelId, documentIds, heldYes })
  return {
    event: 'retrieved',
    query_hmac: queryHmac,
    ...(keepsQueries && question.query !== undefined && { query: question.query, erasable: true as const }),
    model_id: clearing.modelId,
    consistency: question.consistency,
    mode: modeUsed,
    openfga_request_ids: clearing.requestIds,
    released: releasedOf(releasedItems, clearing, uses, reasons),
    considered,
    denied,
    passed_over: passedOver,
    errors,
    complete: isComplete,
  }
}

/** What leaves, and by which of OpenFGA's yeses. */
function releasedOf(
  releasedItems: Leaving['items'],
  clearing: Clearing,
  uses: Uses,
  reasons: ReturnType<Why>,
): Released[] {
  const byDocument = new Map<string, string[]>()
  for (const { documentId, chunkId } of releasedItems) {
    byDocument.set(documentId, [...(byDocument.get(documentId) ?? []), chunkId])
  }
  return [...byDocument].map(([document_id, chunk_ids]) => ({
    document_id,
    chunk_ids,
    ...evidenceOf(clearing.proofOf(document_id)),
    ...byGrants(uses, document_id),
    ...supportingTuples(reasons, document_id),
  }))
}

/**
 * The gate's proof in the words of the record. What was read without one cannot be: reading takes a
 * `Cleared<T>`.
 */
export function evidenceOf(proof: Proof | undefined): Proven {
  if (proof === undefined) throw new Error('Something was read that the gate did not clear.')
  return proof.kind === 'held' ? { proof: 'held', age_ms: proof.ageMs } : { proof: proof.kind }
}

/** The tuples that it rested on, where they are known. */
export function supportingTuples(
  tuplesByDocument: ReadonlyMap<string, readonly string[]>,
  documentId: string,
): { readonly why?: readonly string[] } {
  const tuples = tuplesByDocument.get(documentId)
  return tuples === undefined ? {} : { why: tuples }
}
