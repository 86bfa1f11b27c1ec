import type { FgaObject } from '../../kernel/ids.ts'
import type { Check, Verdict } from '../fga.ts'
import type { ReplicaView } from '../permission-index.ts'
import type { ExplainQuestion } from './ask.ts'

/** What an agent's answer rests on, each in OpenFGA's own word. */
export interface Sides {
  /** The person may read it. */
  readonly person: Verdict
  /** What was lent is in force: this person lent it to this agent, and it has not ended. */
  readonly delegation: Verdict
  /** It is within what was lent. */
  readonly scope: Verdict
  /** It is sensitive: an agent needs an approval. */
  readonly sensitive: Verdict
  /** An approval that was presented covers it. */
  readonly approval: Verdict
}

const delegated = new Set(['can_read_delegated', 'can_be_told'])
/** Whether it is a relation that agents are asked about. */
export const isDelegated = (relation: string): boolean => delegated.has(relation)
const relations = { person: 'can_read', scope: 'in_scope', sensitive: 'sensitive', approval: 'granted' }

/** The checks behind a delegated relation, in the order of `Sides`; none where the model or the question has no such sides. */
export function sideChecks(view: ReplicaView, question: ExplainQuestion, check: Check): readonly Check[] {
  const { agent, delegation } = question
  const own = view.model.types.get(typeOf(check.object))
  const known =
    Object.values(relations).every((relation) => own?.has(relation)) &&
    view.model.types.get('delegation')?.has('active')
  if (agent === undefined || !isDelegated(check.relation) || !known) return []
  const about = (relation: string, object: FgaObject = check.object): Check => ({
    ...check,
    relation,
    object,
  })
  return [
    about(relations.person),
    about('active', `delegation:${delegation}`),
    about(relations.scope),
    about(relations.sensitive),
    about(relations.approval),
  ]
}

export function sidesOf(verdicts: readonly Verdict[]): Sides | undefined {
  const [person, delegation, scope, sensitive, approval] = verdicts
  if (!person || !delegation || !scope || !sensitive || !approval) return undefined
  return { person, delegation, scope, sensitive, approval }
}

/**
 * What of the question no stored tuple names: a mistyped id is denied like one that exists. Only for whoever may explain,
 * who sees all tuples; of a replica that has caught up.
 */
export function unnamed({ tuples }: ReplicaView, { user, object }: ExplainQuestion): readonly string[] {
  const said: string[] = []
  const buckets = [...(tuples.node(object)?.out.values() ?? [])]
  if (buckets.every(({ concrete, usersets }) => concrete.length + usersets.length === 0))
    said.push(
      `No stored tuple is about ${object}: its id may be mistyped, or it was never taken in, or withdrawn.`,
    )
  const who = tuples.node(user)
  const isOne = !/#|:\*$/.test(user)
  if (isOne && (who === undefined || tuples.into(who)[Symbol.iterator]().next().done === true))
    said.push(`No stored tuple names ${user}: the id may be mistyped, or nothing was given to it by itself.`)
  return said
}

/** The answer in one or more plain sentences; `unnamed`: those of {@link unnamed}. */
export function inWords(
  decision: Verdict,
  question: ExplainQuestion,
  sides: Sides | undefined,
  unnamed: readonly string[],
): string {
  const { user, agent, relation, object } = question
  const who = agent === undefined ? user : `agent:${agent} for ${user}`
  if (decision === 'error') return `OpenFGA could not decide whether ${who} has ${relation} of ${object}.`
  if (decision === 'allowed')
    return sides?.sensitive === 'allowed' && relation === 'can_read_delegated'
      ? `${who} has ${relation} of ${object}: it is sensitive, and an approval covers it.`
      : `${who} has ${relation} of ${object}.`
  const failed = sides === undefined ? [] : failedSides(question, sides)
  return [`${who} does not have ${relation} of ${object}.`, ...unnamed, ...failed].join(' ')
}

function failedSides({ user, agent, delegation, relation, object }: ExplainQuestion, sides: Sides): string[] {
  const said: string[] = []
  if (sides.person === 'denied')
    said.push(`${user} may not read it: an agent never may more than its person.`)
  if (sides.delegation === 'denied')
    said.push(
      `delegation:${delegation} is not in force: it has ended, or is not from ${user} to agent:${agent}.`,
    )
  else if (sides.scope === 'denied') said.push(`It is not within what delegation:${delegation} lends.`)
  if (relation === 'can_read_delegated' && sides.sensitive === 'allowed' && sides.approval === 'denied')
    said.push('It is sensitive, and no approval that was presented covers it.')
  if (Object.values(sides).includes('error'))
    said.push(`OpenFGA did not answer about every part of ${object}.`)
  return said
}

const typeOf = (object: string): string => object.slice(0, object.indexOf(':'))
