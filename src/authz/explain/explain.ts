import { type Explanation, explain, type Reason } from '@remit/engine'
import { record } from '../../audit/record.ts'
import { type Check, contextAt, type Fga, type Verdict } from '../fga.ts'
import type { LocalReplica, LogFollower } from '../permission-index.ts'
import { type AgentInputs, agentInputChecks, agentInputsOf, inWords, unnamedInputs } from './agent-inputs.ts'
import { closedBySource } from './closed.ts'
import { assertInModel, checkOf, type ExplainQuestion } from './input.ts'
import type { Asking } from './listing.ts'
import { type RegistryDeps, type RegistryLimit, registryLimit } from './registry.ts'
import { type CaughtUp, caughtUp, type ReplicaState } from './replica.ts'
import { shutOut, shutOutInWords } from './shut-out.ts'

/** OpenFGA's decision and, where the replica has caught up, the reasons behind it. */
export interface ExplainAnswer {
  /** OpenFGA's own, asked past its caches. With `at` it is what it would say by that clock. */
  readonly decision: Verdict
  /** The replica's; undefined where it is not built or follows another model. */
  readonly explanation: Explanation | undefined
  /** Whether both say the same; undefined where only OpenFGA said something. */
  readonly agrees: boolean | undefined
  readonly replica: ReplicaState
  /** Only for an agent's question about a delegated relation. */
  readonly sides: AgentInputs | undefined
  /** What the registry of agents takes away beside it; undefined: nothing. */
  readonly registry: RegistryLimit | undefined
  /** Why nobody reads the document now, whatever is decided. */
  readonly closed: string | undefined
  readonly inWords: string
  /** Milliseconds since the epoch that conditions were evaluated with. */
  readonly at: number
  readonly modelId: string
}

/** Explains one decision. Throws `authorization_unavailable` where OpenFGA does not answer. */
export type Explainer = Asking<ExplainQuestion, ExplainAnswer>

/** What {@link createExplainer} asks. */
export interface ExplainDeps extends RegistryDeps {
  readonly fga: Fga
  readonly index: LocalReplica & LogFollower
  readonly now: () => number
}

/**
 * Why a user has a relation, or has not. OpenFGA decides; the replica explains; where they differ, or the
 * replica cannot be used, the answer says so. On record before it is given. Throws `invalid_request` for a
 * question that does not fit the model, `authorization_unavailable` where OpenFGA does not answer. Does NOT
 * check who asks.
 */
export function createExplainer(dependencies: ExplainDeps): Explainer {
  return async (asker, question, { signal }) => {
    const check = checkOf(question)
    let found = await ask(dependencies, question, check, signal)
    // A change between the two answers looks like a difference: it is gone the second time.
    if (found.answer.agrees === false) found = await ask(dependencies, question, check, signal)
    const { answer, requestIds } = found
    await record(dependencies.sql, asker, {
      event: 'explained',
      question: {
        user: question.user,
        ...(question.agent !== undefined && { agent: question.agent }),
        ...(question.delegation !== undefined && { delegation: question.delegation }),
        ...(question.grants !== undefined && { grants: question.grants }),
        relation: question.relation,
        object: question.object,
        ...(question.at !== undefined && { at: new Date(question.at).toISOString() }),
      },
      decision: answer.decision,
      agrees: answer.agrees ?? null,
      model_id: answer.modelId,
      openfga_request_ids: requestIds,
    })
    return answer
  }
}

async function ask(
  dependencies: ExplainDeps,
  question: ExplainQuestion,
  check: Check,
  signal: AbortSignal,
): Promise<{ readonly answer: ExplainAnswer; readonly requestIds: readonly string[] }> {
  const { fga, index, now } = dependencies
  const evaluatedAt = question.at ?? now()
  const replica = await caughtUp(index, fga, signal)
  const modelId = fga.modelId
  const local = explainLocally(replica, check, evaluatedAt)
  const view = replica.view()
  const checks = [check, ...(view === undefined ? [] : agentInputChecks(view, question, check))]
  const { verdicts, requestIds } = await fga.batchCheck(checks, { now: evaluatedAt, signal })
  const [decision = 'error', ...sideVerdicts] = verdicts
  const agentSides = agentInputsOf(sideVerdicts)
  const agrees = local && verdictOf(local) === decision
  const isShutOut = decision === 'allowed' && (await shutOut(dependencies, [check.user])).size > 0
  const answer: ExplainAnswer = {
    decision,
    explanation: local,
    agrees,
    replica: { state: replica.state, lagMs: replica.lagMs },
    sides: agentSides,
    registry: await registryLimit(dependencies, question),
    closed: await closedBySource(dependencies.sql, question.object),
    inWords: [
      inWords(
        decision,
        question,
        agentSides,
        view !== undefined && replica.state === 'ready' ? unnamedInputs(view, question) : [],
      ),
      ...(agrees === true && decision === 'denied' ? whatKeepsOut(local.reason, check.user) : []),
      ...(isShutOut ? [shutOutInWords(check.user)] : []),
    ].join(' '),
    at: evaluatedAt,
    modelId,
  }
  return { answer, requestIds }
}

function explainLocally(replica: CaughtUp, check: Check, evaluatedAt: number): Explanation | undefined {
  const view = replica.view()
  if (view === undefined) return undefined
  assertInModel(view, check)
  const { user, relation, object, contextual } = check
  return explain(view.model, view.tuples, {
    user,
    relation,
    object,
    contextualTuples: contextual,
    context: contextAt(evaluatedAt),
  })
}

const verdictOf = ({ allowed, error }: Explanation): Verdict =>
  error !== undefined ? 'error' : allowed ? 'allowed' : 'denied'

/**
 * What keeps a person from reading, in sentences: where they are blocked and by whom they are meant, and
 * which gate of a zone does not hold them. Of the reasons of a denial; empty where it only lacks a tuple that
 * lets them.
 */
function whatKeepsOut(reason: Reason, user: string): readonly string[] {
  const found = new Set<string>()
  collect(reason, user, found)
  return [...found]
}

function collect(reason: Reason, user: string, found: Set<string>): void {
  if (reason.kind === 'tuple' && reason.holds === 'yes' && reason.tuple.relation === 'blocked') {
    const named = reason.tuple.user
    found.add(`Blocked at ${reason.tuple.object}${named === user ? '' : `, for ${named}`}.`)
  }
  if (reason.kind === 'relation' && reason.holds === 'no') {
    const gate = /^gate_(\d)$/.exec(reason.relation)?.[1]
    if (gate !== undefined) found.add(`Gate ${gate} of ${reason.object} does not hold them.`)
    if (reason.relation === 'audience') found.add(`They are not in the audience of ${reason.object}.`)
  }
  if ('because' in reason) for (const inner of reason.because) collect(inner, user, found)
}
