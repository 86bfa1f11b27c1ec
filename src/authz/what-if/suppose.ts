import {
  check,
  type Dependents,
  dependentsOf,
  keyOf,
  listCandidates,
  type Model,
  overApproximate,
  overlayTuples,
  type TupleKey,
  type TupleView,
} from '@remit/engine'
import { splitObject } from '../../kernel/ids.ts'
import {
  type Asker,
  askersOf,
  type Compared,
  delegatedAskers,
  type LiveDelegation,
  namesIn,
  ownAsker,
  strangerUser,
} from '../compare/askers.ts'
import {
  type ComparisonEnd,
  type ComparisonInput,
  comparePairs,
  createSlices,
  type Group,
  type PairLimits,
  type Slices,
  type Verdicts,
} from '../compare/compare.ts'
import { isOwnImplied } from '../model/invariants.ts'
import { type SupposedChange, supposedDelegations } from './change.ts'

/** The supposed change, and both models. */
export interface SupposeInput extends ComparisonInput {
  readonly change: SupposedChange
  readonly before: Model
  /** The same, where only tuples change. */
  readonly after: Model
  /** Only these, `user:anne`. */
  readonly people?: readonly string[] | undefined
  /** Only these ids. */
  readonly documents?: readonly string[] | undefined
  readonly limits: PairLimits
  /**
   * Fewer documents are asked about sooner than it is found out which of them somebody could have. Default
   * 200.
   */
  readonly narrowFrom?: number
  readonly take: (asker: Asker, document: string, verdicts: Verdicts) => void
}

/** How a comparison ended, and how many were asked about. */
export interface Supposed extends ComparisonEnd {
  /** How many were asked about: people by themselves, agents for people under a delegation. */
  readonly people: number
  readonly agents: number
}

/**
 * Asks what may be read before and after a change that nobody makes: on the tuples with the change laid over
 * them. Where only tuples change, only those are asked about whom it can reach; with another model everybody,
 * about all that they could have.
 */
export async function suppose(input: SupposeInput): Promise<Supposed> {
  const { change, before: modelBefore, after: modelAfter, tuples, context } = input
  const slices = createSlices(input.now, input.pause)
  const evaluators = () => ({
    before: { model: modelBefore, tuples },
    after: { model: modelAfter, tuples: overlayTuples(tuples, change) },
  })
  const changed = [
    ...change.deletes.flatMap((key) => tuples.get(key) ?? []).map(keyOf),
    ...change.writes.flatMap((key) => tuples.get(key) ?? []).map(keyOf),
    ...change.writes,
  ]
  const delegations = [
    ...input.delegations,
    ...supposedDelegations(changed, [tuples, evaluators().after.tuples]),
  ]
  const union = overlayTuples(tuples, { writes: change.writes })
  const reach: Reach = { model: modelAfter, tuples: union, changed, context, slices }
  const groups =
    modelBefore === modelAfter
      ? reachedBy(
          reach,
          { own: await affectedOf(reach, 'can_read'), lent: await affectedOf(reach, 'can_read_delegated') },
          delegations,
          input.narrowFrom,
        )
      : everyone([modelBefore, modelAfter], union, delegations)
  const evaluated = { can_read: 0, can_read_delegated: 0 }
  const ended = await comparePairs({
    sides: evaluators,
    groups: narrowed(groups, input, ({ relation }) => {
      evaluated[relation] += 1
    }),
    context,
    slices,
    limits: input.limits,
    take(...answer) {
      input.take(...answer)
      return true
    },
  })
  return { ...ended, people: evaluated.can_read, agents: evaluated.can_read_delegated }
}

/** Each asker once, and only whom and what is asked about. */
function* narrowed(
  groups: Iterable<Group>,
  { people, documents }: SupposeInput,
  onMet: (asker: Asker) => void,
): Iterable<Group> {
  const wantedPeople = people && new Set(people)
  const wantedDocuments = documents && new Set(documents)
  const evaluated = new Set<string>()
  for (const { asker, documents: reached } of groups) {
    const { user, agent = '', delegation = '' } = asker
    const name = `${user} ${agent} ${delegation}`
    if (evaluated.has(name) || wantedPeople?.has(user) === false) continue
    evaluated.add(name)
    const askedDocuments =
      wantedDocuments === undefined
        ? reached
        : [...reached].filter((document) => wantedDocuments.has(document))
    if (!isEmpty(askedDocuments)) onMet(asker)
    // Also where there is nothing to ask: to find that out took its time, and others have their turn in
    // between.
    yield { asker, documents: askedDocuments }
  }
}

const isEmpty = (iterable: Iterable<string>): boolean => iterable[Symbol.iterator]().next().done === true

/** About whatever they could have under one of the models: of the rest nobody has anything under either. */
function* everyone(
  models: readonly Model[],
  tuples: TupleView,
  delegations: readonly LiveDelegation[],
): Iterable<Group> {
  const could = createCould(models, tuples)
  for (const asker of askersOf(namesIn(tuples).people, delegations))
    yield { asker, documents: could.read(asker) }
}

/** Where a change of tuples is looked for. */
interface Reach extends Pick<ComparisonInput, 'context'> {
  readonly model: Model
  /** All of before and all of after. */
  readonly tuples: TupleView
  /** The tuples that are written or deleted, as they were and as they would be. */
  readonly changed: readonly TupleKey[]
  readonly slices: Slices
}

/** With the ids of its documents, made once for all who share them. */
interface Reached extends Dependents {
  readonly documents: readonly string[]
}

/**
 * Those whom a change of tuples can reach, each with the documents that it can reach: all others are answered
 * as before, and need not be asked about. Each group is made when its turn comes.
 */
function* reachedBy(
  { model, tuples }: Reach,
  { own, lent: viaAgents }: { readonly own: readonly Reached[]; readonly lent: readonly Reached[] },
  delegations: readonly LiveDelegation[],
  narrowFrom = 200,
): Iterable<Group> {
  const could = createCould([model], tuples)
  const everybody = own.some((affected) => affected.everybody)
    ? [strangerUser, ...namesIn(tuples).people]
    : []
  const people = new Set([...everybody, ...own.flatMap(({ users }) => [...users]).sort()])
  for (const user of people) {
    const asker = ownAsker(user)
    const bearing = own.filter((affected) => affected.everybody || affected.users.has(user))
    yield { asker, documents: documentsOf(asker, bearing, could, narrowFrom) }
  }
  for (const asker of delegations.flatMap(delegatedAskers)) {
    const bearing = viaAgents.filter((affected) => affected.everybody || bears(affected, asker, could))
    yield { asker, documents: documentsOf(asker, bearing, could, narrowFrom) }
  }
}

/** By object and relation, so that a hundred members of one group are looked into once. */
async function affectedOf(
  { model, tuples, changed, context, slices }: Reach,
  relation: Compared,
): Promise<readonly Reached[]> {
  const target = model.types.get('document')?.get(relation)
  if (target === undefined) return []
  const found: Reached[] = []
  for (const keys of Map.groupBy(changed, ({ object, relation: on }) => `${object}#${on}`).values()) {
    const dependents = dependentsOf(model, tuples, target, { keys, type: 'user', context })
    for (let iteration = dependents.next(); ; iteration = dependents.next()) {
      if (iteration.done === true) {
        const documents = [...iteration.value.objects].map((name) => splitObject(name).id)
        if (documents.length > 0) found.push({ ...iteration.value, documents })
        break
      }
      await slices.pauseWhenOver()
    }
  }
  return found
}

/**
 * All agents of one name share what a request of theirs brings: whether it is enough for this one is asked.
 */
function bears(
  { users, questions, direct, asked: askedDocuments }: Reached,
  asker: Asker,
  could: Could,
): boolean {
  const isMet =
    users.has(asker.user) ||
    asker.contextual.some(({ object, relation }) =>
      questions.has(`${splitObject(object).type}#${relation} ${object}`),
    )
  if (!isMet || direct.has(asker.user)) return isMet
  return askedDocuments.some((question) => could.have(asker, question))
}

function documentsOf(
  asker: Asker,
  bearing: readonly Reached[],
  could: Could,
  narrowFrom: number,
): Iterable<string> {
  const [firstReached, ...otherReached] = bearing
  if (firstReached === undefined) return []
  const documents =
    otherReached.length === 0
      ? firstReached.documents
      : [...new Set(bearing.flatMap(({ documents }) => documents))]
  if (documents.length < narrowFrom) return documents
  const theirs = could.read(asker)
  return documents.filter((document) => theirs.has(document))
}

type Could = ReturnType<typeof createCould>

/**
 * What somebody could have, by an over-approximation: with exclusions left out and conditions taken as met.
 */
function createCould(models: readonly Model[], tuples: TupleView) {
  const relaxed = models.map(overApproximate)
  const isOwn = models.every(isOwnImplied)
  let lastAnswer: { readonly name: string; readonly documents: ReadonlySet<string> } | undefined

  function list({ user, relation, contextual }: Pick<Asker, 'user' | 'relation' | 'contextual'>) {
    return new Set(
      relaxed.flatMap((model) => {
        const target = model.types.get('document')?.get(relation)
        if (target === undefined) return []
        const objects = listCandidates(model, tuples, target, { user, contextualTuples: contextual })
        return objects.map((name) => splitObject(name).id)
      }),
    )
  }

  return {
    /** Ids of documents under any of the models; all others are denied for certain. */
    read(asker: Asker): ReadonlySet<string> {
      // What is lent may be all that there is; what its person could read is less, and enough by the model.
      const { user, relation, contextual } = isOwn ? ownAsker(asker.user) : asker
      const name = JSON.stringify([user, relation, contextual])
      // A person's agents come one after the other.
      if (lastAnswer?.name !== name) lastAnswer = { name, documents: list({ user, relation, contextual }) }
      return lastAnswer.documents
    },
    /** Under the first model. */
    have(
      { user, contextual }: Asker,
      { relation, object }: { readonly relation: string; readonly object: string },
    ): boolean {
      const [model] = relaxed
      try {
        return (
          model === undefined ||
          check(model, tuples, { user, relation, object, contextualTuples: contextual })
        )
      } catch {
        // Too deep to say.
        return true
      }
    },
  }
}
