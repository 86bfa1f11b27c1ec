import type { Why } from '../authz/explain/why.ts'
import type { Gate } from '../authz/gate.ts'
import type { Principal } from '../kernel/principal.ts'
import type { Database } from '../store/sql.ts'
import type { Visibility } from './access-filter/visibility.ts'
import { type Approvals, mayAsk, type Presenting, shownGrants } from './approvals.ts'
import { type Attempt, createAttempts } from './attempts.ts'
import { clearBest } from './best.ts'
import { type BranchesDeps, type ChosenBranches, chooseBranches } from './branches.ts'
import type { Deadline } from './deadline.ts'
import type { Answer, OnAnswer, Question } from './question.ts'
import { release } from './release.ts'
import { type Keyed, narrowedCollections } from './scope.ts'

/** What a question passes: visibility, searches, the gate, reading and the record. */
export interface RetrieverDeps extends BranchesDeps {
  readonly sql: Database
  readonly approvals: Approvals
  readonly presenting: Presenting
  readonly visibility: Visibility
  readonly gate: Gate
  readonly keyed: Keyed
  readonly why: Why
  /** Whether the record keeps what was asked, not only its digest. */
  readonly keepsQueries: boolean
  readonly now: () => number
  /** The name of a document that never was, another one each time. */
  readonly newDecoy: () => string
  /** Told of each answer; must not throw. */
  readonly onAnswer?: OnAnswer
}

/** Answers one question. Throws an AppError; nothing leaves that the record does not hold. */
export type Retriever = (principal: Principal, question: Question, deadline: Deadline) => Promise<Answer>

/**
 * Answers a question with passages that the principal may read: embed → nominate → search → gate → read → record.
 * Every candidate is cleared before any text is loaded, and the record is committed before the answer leaves, with
 * the uses of the grants that it rests on. Does NOT check token scopes: the face does.
 */
export function createRetriever(dependencies: RetrieverDeps): Retriever {
  const attempts = createAttempts(dependencies)
  return async (principal, question, deadline) => {
    const [branches, begunAttempts] = await Promise.all([
      chooseBranches(question, dependencies, deadline.signal),
      attempts.begin(principal, question.approval),
    ])
    const queryHmac = dependencies.keyed.query(question)
    const askedSearch = { principal, question, queryHmac, branches, deadline }
    return begunAttempts.answer(queryHmac, (attempt) => answerWith(askedSearch, attempt, dependencies))
  }
}

interface Asked {
  readonly principal: Principal
  readonly question: Question
  readonly queryHmac: string
  readonly branches: ChosenBranches
  readonly deadline: Deadline
}

/** Undefined: it would have rested on a use that does not count, or lacked what could be presented. */
async function answerWith(
  askedSearch: Asked,
  attempt: Attempt,
  dependencies: RetrieverDeps,
): Promise<Answer | undefined> {
  const { visibility, gate, keyed, newDecoy, onAnswer } = dependencies
  const { principal, question, branches, deadline } = askedSearch
  const { signal } = deadline
  const { modeUsed } = branches
  const grants = attempt.presented.map(({ id }) => id)
  // Also where no offer may be made any more: what is done, and how long it takes, does not tell whether there is one.
  const tells = mayAsk(principal)
  const sight = await visibility.of(principal, {
    signal,
    grants,
    granted: shownGrants(attempt.presented).flatMap(({ documentIds }) => documentIds),
    tells,
    // OpenFGA takes longer about what is there: its time would make an offer of one that may not be made.
    offers: attempt.mayOffer,
    ...narrowedCollections(principal, question.collections),
    ...(question.filter && { filter: question.filter }),
  })
  const { consistency, topK } = question
  const clearing = gate.open(principal, { consistency, grants: shownGrants(attempt.presented), signal })
  const bestCleared = await clearBest({ topK, sight, branches, clearing, deadline, newDecoy, tells })
  const isComplete = bestCleared.complete && sight.complete
  const released = await release(
    { ...askedSearch, ...attempt, ...bestCleared, modeUsed, clearing, complete: isComplete },
    dependencies,
  )
  if (released === undefined) return undefined
  const documents = new Set(released.passages.map(({ documentId }) => documentId))
  onAnswer?.({ ...clearing.counts, returned: documents.size })
  const { modelId } = clearing
  return { ...released, modeUsed, modelId, scopeKey: keyed.scope(principal, { modelId, grants }) }
}
