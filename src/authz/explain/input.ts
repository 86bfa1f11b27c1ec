import { isId } from '@remit/contract/id'
import { checkKey, checkUser } from '@remit/engine'
import { invalid } from '../../kernel/errors.ts'
import { type FgaObject, splitObject } from '../../kernel/ids.ts'
import type { Check } from '../fga.ts'
import type { ReplicaView } from '../permission-index.ts'
import { presentedTuples } from '../presented.ts'

/** Who is asked about, with which agent, delegation and grants, and for what. */
export interface ExplainQuestion {
  /** `user:anne`, `user:*`, `group:eng#member`. */
  readonly user: string
  /** Id of the agent that asks for the user; with it comes the delegation. */
  readonly agent?: string | undefined
  readonly delegation?: string | undefined
  /** Approvals that are presented beside the delegation. */
  readonly grants?: readonly string[] | undefined
  readonly relation: string
  readonly object: FgaObject
  /**
   * Milliseconds since the epoch: the clock that conditions are evaluated with. The tuples are today's,
   * whatever it says: what was deleted since is not seen, what was written since is.
   */
  readonly at?: number
}

/** Of a type and of a relation. */
const modelName = /^[A-Za-z0-9_-]{1,60}$/

/**
 * The check that the gate would make for this question, its contextual tuples included. Throws
 * `invalid_request` for ids that break the rule and for an agent without its delegation: what is absent never
 * decides.
 */
export function checkOf({ user, agent, delegation, grants, relation, object }: ExplainQuestion): Check {
  assertSubject(user)
  assertObject(object)
  assertRelation(relation)
  if (agent === undefined) {
    if (delegation !== undefined) throw invalid('delegation', 'A delegation belongs to an agent: name both.')
    if (grants !== undefined) throw invalid('grants', 'Grants are presented by an agent: name it.')
    return { user, relation, object }
  }
  if (delegation === undefined) throw invalid('delegation', 'An agent needs its delegation: name both.')
  if (!/^user:[^*#]+$/.test(user)) throw invalid('user', 'An agent acts for a person: name user:ID.')
  const ids = { agent, delegation, ...Object.fromEntries((grants ?? []).map((id, i) => [`grants.${i}`, id])) }
  for (const [field, id] of Object.entries(ids)) if (!isId(id)) throw invalid(field, 'This is not an id.')
  const contextual = presentedTuples({
    user: user as FgaObject,
    agent: `agent:${agent}`,
    delegation,
    ...(grants && { grants }),
  })
  return { user, relation, object, contextual }
}

/** What the ids alone cannot tell: whether the model has these types and relations. */
export function assertInModel({ model }: ReplicaView, { user, relation, object }: Check): void {
  const misfitUser = checkUser(model, user)
  if (misfitUser !== undefined) throw invalid('user', sentence(misfitUser.reason))
  const misfit = checkKey(model, { user, relation, object })
  if (misfit !== undefined)
    throw invalid(misfit.kind === 'relation' ? 'relation' : 'object', sentence(misfit.reason))
}

/** Throws `invalid_request` where a text is no object. */
export function assertObject(object: string, field = 'object'): void {
  const { type, id } = splitObject(object)
  if (!object.includes(':') || !modelName.test(type) || !isId(id))
    throw invalid(field, 'type:id is needed, with an id of the contract.')
}

/** Throws `invalid_request`, which names the field and says `detail`, where a text is no `user:ID`. */
export function assertPerson(user: string, field: string, detail: string): void {
  const { type, id } = splitObject(user)
  if (type !== 'user' || !isId(id)) throw invalid(field, detail)
}

/** Throws `invalid_request` where a text can name no relation. */
export function assertRelation(relation: string): void {
  if (!modelName.test(relation)) throw invalid('relation', 'This is not the name of a relation.')
}

function assertSubject(user: string): void {
  const [object = '', relation, ...excess] = user.split('#')
  const { type, id } = splitObject(object)
  const isWildcard = id === '*' && relation === undefined
  const fits =
    excess.length === 0 &&
    object.includes(':') &&
    modelName.test(type) &&
    (isWildcard || isId(id)) &&
    (relation === undefined || modelName.test(relation))
  if (!fits)
    throw invalid('user', 'type:id, type:* or type:id#relation is needed, with an id of the contract.')
}

const sentence = (reason: string): string => `${reason.charAt(0).toUpperCase()}${reason.slice(1)}.`
