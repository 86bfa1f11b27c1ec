import { check, listObjects, type Model, type Relation, type TupleView } from '@remit/engine'
import { unlessUnknown } from '../compare/compare.ts'
import { sidesOf } from '../write-order.ts'

/**
 * What a service holds on a collection by tuples. Scopes, prefixes and roles stand in the database, whatever
 * the model.
 */
const rights = ['writer', 'tagger'] as const
/** A right over a collection that a service can hold. */
export type Right = (typeof rights)[number]

/**
 * For each right: service → collections on which it holds it, `service:crm` → `collection:npm`. `unknown`: an
 * error, which denies today and may not tomorrow.
 */
export type Holders = Readonly<Record<Right, ReadonlyMap<string, ReadonlyMap<string, Held>>>>
type Held = 'held' | 'unknown'

/** The tuples and the context from which the holders are computed. */
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

/** Evaluates the rules of a model. */
export async function holdersUnder(model: Model, { tuples, context, pause }: HoldersInput): Promise<Holders> {
  const services = new Set<string>([stranger])
  for (const { user } of tuples.after(''))
    if (user.type === 'service' && !user.wildcard) services.add(user.name)
  const found = { writer: new Map<string, Map<string, Held>>(), tagger: new Map<string, Map<string, Held>>() }
  for (const service of [...services].sort()) {
    await pause()
    for (const writeRight of rights) {
      const collections = heldBy(service, rightIn(model, writeRight), { model, tuples, context })
      if (collections.size > 0) found[writeRight].set(service, collections)
    }
  }
  return found
}

type Asked = Omit<HoldersInput, 'pause'> & { readonly model: Model }

function heldBy(user: string, relation: Relation | undefined, question: Asked): Map<string, Held> {
  if (relation === undefined) return new Map()
  const { model, tuples, context } = question
  const listed = unlessUnknown(() => [...listObjects(model, tuples, relation, { user, context })])
  return listed === undefined
    ? heldOneByOne(user, relation, question)
    : new Map(listed.map((name) => [name, 'held']))
}

/** One tuple that cannot be evaluated must not hide what holds on other collections. */
function heldOneByOne(
  user: string,
  relation: Relation,
  { model, tuples, context }: Asked,
): Map<string, Held> {
  const objects = new Set<string>()
  for (const { object } of tuples.after('')) if (object.type === 'collection') objects.add(object.name)
  const found = new Map<string, Held>()
  for (const object of objects) {
    const isHeld = unlessUnknown(() =>
      check(model, tuples, { user, relation: relation.name, object, context }),
    )
    if (isHeld !== false) found.set(object, isHeld === true ? 'held' : 'unknown')
  }
  return found
}

/** Who holds a right by the one and not by the other. */
export const onlyIn = (gaining: Holders[Right], losing: Holders[Right]) =>
  [...gaining].flatMap(([service, collections]) =>
    [...collections]
      .filter(([collection]) => losing.get(service)?.get(collection) !== 'held')
      .map(([collection, verdict]) => ({ service, collection, verdict })),
  )

/** The rights that services have by the new model and did not have by the old one. */
export const writerGains = (oldHolders: Holders, newHolders: Holders): readonly WriterGain[] =>
  rights.flatMap((writeRight) =>
    onlyIn(newHolders[writeRight], oldHolders[writeRight]).map(({ service, collection }) => ({
      right: writeRight,
      service,
      collection,
    })),
  )

/**
 * Rights that follow from another rule under the one model than under the other, in whatever they rest on.
 */
export const changedRights = (oldModel: Model, newModel: Model): readonly Right[] =>
  rights.filter((writeRight) => ruleOf(oldModel, writeRight) !== ruleOf(newModel, writeRight))

/**
 * All rules that a right rests on, in one text that two models share only where the right follows from the
 * same.
 */
function ruleOf(model: Model, writeRight: Right): string {
  const { grants, restricts } = sidesOf(model, [rightIn(model, writeRight)]).seen
  const behind = [...new Set([...grants, ...restricts])].map(({ type, name, key, restrictions }) => {
    const rewrite = model.ast.types.find((written) => written.type === type)?.relations.get(name)
    const conditions = restrictions.map(({ condition }) => model.ast.conditions.get(condition))
    const bodies = conditions.map(
      (condition) => condition && [condition.name, condition.expression, ...condition.params.entries()],
    )
    return [key, rewrite, restrictions, bodies]
  })
  return JSON.stringify(behind.sort(([a], [b]) => (String(a) < String(b) ? -1 : 1)))
}

const rightIn = (model: Model, writeRight: Right): Relation | undefined =>
  model.types.get('collection')?.get(writeRight)
