import { isDeepStrictEqual } from 'node:util'
import { checkTuple, type Model, type Relation, type Rewrite } from '@remit/engine'
import { labelOf } from '../allow-list/label.ts'
import { presented, requestOnlyKeys, serviceWrites } from '../allow-list/reserved.ts'
import { ownMarks } from '../own-marks.ts'
import { reachable } from './reachable.ts'

/** Why a model may not come into force, or what whoever confirms it should know. */
export interface Finding {
  readonly rule:
    | 'relation_missing'
    | 'request_only_missing'
    | 'request_only_grants'
    | 'own_marks_changed'
    | 'lending_not_needed'
    | 'context_not_sent'
    | 'delegated_beyond_own'
    | 'gains_unknown'
    | 'server_refuses'
    | 'own_rights_not_implied'
    | 'writer_refused'
    | 'allow_list_refused'
    | 'nobody_may_write'
    | 'writers_follow_another_rule'
    | 'may_now_write'
    | 'may_no_longer_write'
  /** `type#relation`, or a condition's name. */
  readonly relation: string
  readonly detail: string
}

const finding = (rule: Finding['rule'], relation: string, detail: string): Finding => ({
  rule,
  relation,
  detail,
})

/** What the gate asks about, and offers ask. */
const required = ['can_read', 'can_be_told', 'can_read_delegated'] as const
const delegated = ['can_be_told', 'can_read_delegated'] as const
// `current_time` comes with every check, `expires_at` with the only condition that is ever stored.
const safeParams = new Set(['current_time', 'expires_at'])
/** Types whose tuples say what was lent and approved; all others hold what people may do themselves. */
const lending = new Set(['agent', 'delegation', 'grant'])

/** What a model's text alone shows to be wrong: none of these may come into force, whatever the tuples. */
export function refusalsOf(model: Model): readonly Finding[] {
  const missing = [...missingRelations(model), ...missingRequestOnly(model)]
  if (missing.length > 0) return missing
  return [
    ...changedMarks(model),
    ...grantedByRequest(model),
    ...withoutLending(model),
    ...unsentContext(model),
  ]
}

/** What a model's text shows that its confirmers should know. */
export function warningsOf(model: Model): readonly Finding[] {
  return [...notImplied(model), ...refusedWrites(model)]
}

function missingRelations(model: Model): Finding[] {
  return required
    .filter((name) => relationOf(model, name) === undefined)
    .map((name) => finding('relation_missing', `document#${name}`, 'The service asks for this relation.'))
}

function missingRequestOnly(model: Model): Finding[] {
  return presented
    .filter(({ object, relation }) => {
      const tuple = { user: 'user:someone', relation, object: `${object}:something` }
      return checkTuple(model, tuple) !== undefined
    })
    .map(({ object, relation }) =>
      finding(
        'request_only_missing',
        `${object}#${relation}`,
        'Every question for an agent brings a tuple of it, by a person and without a condition: without it none could be asked.',
      ),
    )
}

/**
 * What the service notes for itself must never decide: nothing else leads to it, and it takes what is written
 * there.
 */
function changedMarks(model: Model): Finding[] {
  const wrong = [...ownMarks].filter(([type, relations]) => {
    const found = model.types.get(type)
    return (
      found === undefined ||
      found.size !== relations.length ||
      relations.some((name) => {
        const { rewrite, restrictions = [] } = found.get(name) ?? {}
        const labels = restrictions.map((restriction) => [labelOf(restriction), restriction.condition])
        return rewrite?.kind !== 'this' || !isDeepStrictEqual(labels, [['turn', '']])
      })
    )
  })
  const leading = [...model.types]
    .filter(([type]) => !ownMarks.has(type))
    .flatMap(([, relations]) => [...relations.values()])
    .filter(({ restrictions }) => restrictions.some(({ type }) => ownMarks.has(type)))
  return [
    ...wrong.map(([type]) =>
      finding(
        'own_marks_changed',
        type,
        'The service keeps marks of its own here: it must be as in model.fga.',
      ),
    ),
    ...leading.map(({ key }) =>
      finding('own_marks_changed', key, 'It leads to marks that the service keeps for itself.'),
    ),
  ]
}

function grantedByRequest(model: Model): Finding[] {
  const had = reachable(model, { stored: (_, restriction) => restriction.relation !== undefined })
  return required
    .filter((name) => had.has(`document#${name}`))
    .map((name) =>
      finding(
        'request_only_grants',
        `document#${name}`,
        `What a request brings is enough for it, with nothing stored for the person${through(had)}.`,
      ),
    )
}

function withoutLending(model: Model): Finding[] {
  const had = reachable(model, {
    stored: ({ type }, restriction) => restriction.relation !== undefined || !lending.has(type),
  })
  return delegated
    .filter((name) => had.has(`document#${name}`))
    .map((name) =>
      finding(
        'lending_not_needed',
        `document#${name}`,
        `The person's own rights and what a request brings are enough for it: nothing has to be lent${through(had)}.`,
      ),
    )
}

/** The relations on what is lent that hold without a stored consent: where to look. */
function through(had: ReadonlySet<string>): string {
  const found = [...had].filter((key) => lending.has(key.split('#')[0] ?? '') && !requestOnlyKeys.has(key))
  return found.length === 0 ? '' : `, through ${found.join(', ')}`
}

function unsentContext(model: Model): Finding[] {
  return [...model.conditions.values()].flatMap(({ name, params }) =>
    [...params.keys()]
      .filter((param) => !safeParams.has(param))
      .map((param) =>
        finding(
          'context_not_sent',
          name,
          `The condition needs ${param}, which no check sends: it could never be met. Only current_time is sent, only expires_at is stored.`,
        ),
      ),
  )
}

/** Whether by its rules nobody is told for a person what that person may not read, whatever the tuples. */
export function isOwnImplied(model: Model): boolean {
  const canRead = relationOf(model, 'can_read')
  const delegatedRead = relationOf(model, 'can_read_delegated')
  return (
    canRead !== undefined && delegatedRead !== undefined && implies(delegatedRead.rewrite, canRead, new Set())
  )
}

function notImplied(model: Model): Finding[] {
  const delegatedRead = relationOf(model, 'can_read_delegated')
  if (relationOf(model, 'can_read') === undefined || delegatedRead === undefined || isOwnImplied(model))
    return []
  return [
    finding(
      'own_rights_not_implied',
      delegatedRead.key,
      'It does not stand on document#can_read: that nobody is told more than they may read holds for the tuples of today only.',
    ),
  ]
}

/** Whether the rule can only be met by whoever has the relation. Says no where it cannot tell. */
function implies(rewrite: Rewrite, target: Relation, visited: ReadonlySet<Relation>): boolean {
  switch (rewrite.kind) {
    case 'computed':
      if (rewrite.relation === target) return true
      if (visited.has(rewrite.relation)) return false
      return implies(rewrite.relation.rewrite, target, new Set([...visited, rewrite.relation]))
    case 'union':
      return rewrite.children.every((child) => implies(child, target, visited))
    case 'intersection':
      return rewrite.children.some((child) => implies(child, target, visited))
    case 'exclusion':
      return implies(rewrite.base, target, visited)
    default:
      return false
  }
}

/** Tuples that the service's own code writes and could not under this model. */
function refusedWrites(model: Model): Finding[] {
  return serviceWrites.flatMap(({ type, relation, subject }) =>
    model.types
      .get(type)
      ?.get(relation)
      ?.restrictions.some((restriction) => labelOf(restriction) === subject) === true
      ? []
      : [
          finding(
            'writer_refused',
            `${type}#${relation}`,
            `The service writes ${subject} here, which this model refuses: such a change would fail.`,
          ),
        ],
  )
}

const relationOf = (model: Model, name: string): Relation | undefined =>
  model.types.get('document')?.get(name)
