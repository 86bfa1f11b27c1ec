import { tuplesOn } from '@remit/engine'
import type { FgaObject } from '../../kernel/ids.ts'
import type { Check, Verdict } from '../fga.ts'
import type { ReplicaView } from '../permission-index.ts'
import type { ExplainQuestion } from './input.ts'

/**
 * What an agent's answer rests on, each by the relation that says so: of the document, `active` of the
 * delegation.
 */
const inputs = {
  /** The person may read it. */
  person: 'can_read',
  /** What was lent is in force: this person lent it to this agent, and it has not ended. */
  delegation: 'active',
  /** It is within what was lent. */
  scope: 'in_scope',
  /** It is sensitive: an agent needs an approval. */
  sensitive: 'sensitive',
  /** An approval that was presented covers it. */
  approval: 'granted',
} as const

/** Each in OpenFGA's own word. */
export type AgentInputs = Readonly<Record<keyof typeof inputs, Verdict>>

const delegated = new Set(['can_read_delegated', 'can_be_told'])
/** Whether it is a relation that agents are asked about. */
export const isDelegated = (relation: string): boolean => delegated.has(relation)

/**
 * The checks behind a delegated relation, in the order of `AgentInputs`; none where the model or the question
 * has no such sides.
 */
export function agentInputChecks(
  { model }: ReplicaView,
  { agent, delegation }: ExplainQuestion,
  check: Check,
): readonly Check[] {
  if (agent === undefined || !isDelegated(check.relation)) return []
  const checks = Object.values(inputs).map((relation): Check => {
    const object: FgaObject = relation === 'active' ? `delegation:${delegation}` : check.object
    return { ...check, relation, object }
  })
  const isKnown = checks.every(({ relation, object }) => model.types.get(typeOf(object))?.has(relation))
  return isKnown ? checks : []
}

/** The verdicts of {@link agentInputChecks} by name; undefined where one is missing. */
export function agentInputsOf(verdicts: readonly Verdict[]): AgentInputs | undefined {
  const [person, delegation, scope, sensitive, approval] = verdicts
  if (!person || !delegation || !scope || !sensitive || !approval) return undefined
  return { person, delegation, scope, sensitive, approval }
}

/**
 * What of the question no stored tuple names: a mistyped id is denied like one that exists. Only for whoever
 * may explain, who sees all tuples; of a replica that has caught up.
 */
export function unnamedInputs({ tuples }: ReplicaView, { user, object }: ExplainQuestion): readonly string[] {
  const reasons: string[] = []
  const node = tuples.node(object)
  if (node === undefined || tuplesOn(node).length === 0)
    reasons.push(
      `No stored tuple is about ${object}: its id may be mistyped, or it was never taken in, or withdrawn.`,
    )
  const userNode = tuples.node(user)
  const isOne = !/#|:\*$/.test(user)
  if (isOne && (userNode === undefined || tuples.into(userNode)[Symbol.iterator]().next().done === true))
    reasons.push(
      `No stored tuple names ${user}: the id may be mistyped, or nothing was given to it by itself.`,
    )
  return reasons
}

/** The answer in one or more plain sentences; `unnamed`: those of {@link unnamed}. */
export function inWords(
  decision: Verdict,
  question: ExplainQuestion,
  agentSides: AgentInputs | undefined,
  unnamed: readonly string[],
): string {
  const { user, agent, relation, object } = question
  const asker = agent === undefined ? user : `agent:${agent} for ${user}`
  if (decision === 'error') return `OpenFGA could not decide whether ${asker} has ${relation} of ${object}.`
  if (decision === 'allowed')
    return agentSides?.sensitive === 'allowed' && relation === 'can_read_delegated'
      ? `${asker} has ${relation} of ${object}: it is sensitive, and an approval covers it.`
      : `${asker} has ${relation} of ${object}.`
  const failed = agentSides === undefined ? [] : failedSides(question, agentSides)
  return [`${asker} does not have ${relation} of ${object}.`, ...unnamed, ...failed].join(' ')
}

function failedSides(
  { user, agent, delegation, relation, object }: ExplainQuestion,
  agentSides: AgentInputs,
): string[] {
  const reasons: string[] = []
  if (agentSides.person === 'denied')
    reasons.push(`${user} may not read it: an agent never may more than its person.`)
  if (agentSides.delegation === 'denied')
    reasons.push(
      `delegation:${delegation} is not in force: it has ended, or is not from ${user} to agent:${agent}.`,
    )
  else if (agentSides.scope === 'denied')
    reasons.push(`It is not within what delegation:${delegation} lends.`)
  if (
    relation === 'can_read_delegated' &&
    agentSides.sensitive === 'allowed' &&
    agentSides.approval === 'denied'
  )
    reasons.push('It is sensitive, and no approval that was presented covers it.')
  if (Object.values(agentSides).includes('error'))
    reasons.push(`OpenFGA did not answer about every part of ${object}.`)
  return reasons
}

const typeOf = (object: string): string => object.slice(0, object.indexOf(':'))
