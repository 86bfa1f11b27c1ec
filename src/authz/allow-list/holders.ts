import {
  ConditionError,
  FgaError,
  listObjects,
  type Model,
  type Relation,
  type Rewrite,
  type TupleView,
} from '@remit/engine'
import { sidesOf } from '../write-order.ts'
import { labelOf } from './label.ts'

/** What a service holds on a collection by tuples. Scopes, prefixes and roles stand in the database, whatever the model. */
const rights = ['writer', 'tagger'] as const
export type Right = (typeof rights)[number]

/** For each right: service → collections on which it holds it, `service:crm` → `collection:npm`. */
export type Holders = Readonly<Record<Right, ReadonlyMap<string, ReadonlySet<string>>>>

export interface HoldersInput {
  readonly tuples: TupleView
  /** Context of every question. */
  readonly context: { readonly current_time: string }
  /** Lets everything else in the process have a turn, after each service. */
  readonly pause: () => Promise<void>
}

/** A service that comes to a right by the rules of another model. */
export interface WriterGain {
  readonly right: Right
  readonly service: string
  readonly collection: string
}

/** Stands for every service for which no tuple is stored. No id that may be written looks like this. */
const stranger = 'service:!any'

/** How a service is named to whoever confirms. */
export const serviceName = (service: string): string => (service === stranger ? 'any service' : service)

/** Evaluates the rules of a model. What they cannot answer for a service is left out: it may not write then. */
export async function holdersUnder(model: Model, { tuples, context, pause }: HoldersInput): Promise<Holders> {
  const services = new Set<string>([stranger])
  for (const { user } of tuples.after(''))
    if (user.type === 'service' && !user.wildcard) services.add(user.name)
  const found = { writer: new Map<string, Set<string>>(), tagger: new Map<string, Set<string>>() }
  for (const service of [...services].sort()) {
    await pause()
    for (const right of rights) {
      const collections = heldBy(service, rightIn(model, right), { model, tuples, context })
      if (collections.size > 0) found[right].set(service, collections)
    }
  }
  return found
}

function heldBy(
  user: string,
  relation: Relation | undefined,
  { model, tuples, context }: Omit<HoldersInput, 'pause'> & { readonly model: Model },
): Set<string> {
  const found = new Set<string>()
  if (relation === undefined) return found
  try {
    for (const name of listObjects(model, tuples, relation, { user, context })) found.add(name)
  } catch (error) {
    if (!(error instanceof ConditionError || error instanceof FgaError)) throw error
  }
  return found
}

/** Who holds a right by the one and not by the other. */
export const onlyIn = (some: Holders[Right], others: Holders[Right]): Omit<WriterGain, 'right'>[] =>
  [...some].flatMap(([service, collections]) =>
    [...collections]
      .filter((collection) => others.get(service)?.has(collection) !== true)
      .map((collection) => ({ service, collection })),
  )

export const writerGains = (before: Holders, after: Holders): readonly WriterGain[] =>
  rights.flatMap((right) => onlyIn(after[right], before[right]).map((pair) => ({ right, ...pair })))

/** Gains that are not among those that were confirmed. */
export function unconfirmedWriters(
  now: readonly WriterGain[],
  confirmed: readonly WriterGain[],
): readonly WriterGain[] {
  const keyOf = ({ right, service, collection }: WriterGain) => `${right} ${service} ${collection}`
  const known = new Set(confirmed.map(keyOf))
  return now.filter((gain) => !known.has(keyOf(gain)))
}

/** Rights that follow from another rule under the one model than under the other, in whatever they rest on. */
export const changedRights = (before: Model, after: Model): readonly Right[] =>
  rights.filter((right) => ruleOf(before, right) !== ruleOf(after, right))

/** All rules that a right rests on, in one text that two models share only where the right follows from the same. */
function ruleOf(model: Model, right: Right): string {
  const { grants, restricts } = sidesOf(model, [rightIn(model, right)]).seen
  const behind = [...new Set([...grants, ...restricts])].map((relation) => {
    const conditions = relation.restrictions.map(({ condition }) => model.ast.conditions.get(condition))
    const bodies = conditions.map((one) => one && [one.name, one.expression, ...one.params.entries()])
    return [relation.key, textOf(relation.rewrite, relation), bodies]
  })
  return JSON.stringify(behind.sort(([one], [other]) => (String(one) < String(other) ? -1 : 1)))
}

function textOf(rewrite: Rewrite, owner: Relation): string {
  switch (rewrite.kind) {
    case 'this':
      return `[${owner.restrictions.map((of) => `${labelOf(of)} ${of.condition}`).join(', ')}]`
    case 'computed':
      return rewrite.relation.name
    case 'ttu':
      return `${rewrite.computed} from ${rewrite.tupleset}`
    case 'exclusion':
      return `(${textOf(rewrite.base, owner)} but not ${textOf(rewrite.subtract, owner)})`
    default:
      return `(${rewrite.children.map((child) => textOf(child, owner)).join(` ${rewrite.kind} `)})`
  }
}

const rightIn = (model: Model, right: Right): Relation | undefined =>
  model.types.get('collection')?.get(right)
