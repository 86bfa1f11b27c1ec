import {
  keyOf,
  type Model,
  overlayTuples,
  type TupleKey,
  type TupleStore,
  type TupleView,
} from '@remit/engine'
import type { FgaObject } from '../../kernel/ids.ts'
import { splitObject } from '../../kernel/ids.ts'
import {
  type Asker,
  delegatedAskers,
  type LiveDelegation,
  ownAsker,
  strangerUser,
} from '../compare/askers.ts'
import {
  type ComparisonEnd,
  comparePairs,
  createSlices,
  type Group,
  type PairLimits,
  type Verdicts,
} from '../compare/compare.ts'
import { namesIn } from '../compare/names.ts'
import type { SupposedChange } from './change.ts'
import { createCould } from './could.ts'
import { reachedBy } from './reach.ts'

/** The supposed change, and both models. */
export interface SupposeInput {
  readonly change: SupposedChange
  readonly before: Model
  /** The same, where only tuples change. */
  readonly after: Model
  /** Changes in place while this runs: what comes in meanwhile may be in the result or not. */
  readonly tuples: TupleStore
  readonly delegations: readonly LiveDelegation[]
  /** Only these, `user:anne`. */
  readonly people?: readonly string[]
  /** Only these ids. */
  readonly documents?: readonly string[]
  readonly context: { readonly current_time: string }
  /** Milliseconds, for slices. */
  readonly now: () => number
  /** Lets everything else in the process have a turn. */
  readonly pause: () => Promise<void>
  readonly limits: PairLimits
  /** See reach.ts. */
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
 * Asks what may be read before and after a change that nobody makes: on the tuples with the change laid over them. Where
 * only tuples change, only those are asked about whom it can reach; with another model everybody, about all that they could have.
 */
export async function suppose(input: SupposeInput): Promise<Supposed> {
  const { change, before: modelBefore, after: modelAfter, tuples } = input
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
  const groups =
    modelBefore === modelAfter
      ? await reachedBy({
          model: modelAfter,
          tuples: union,
          changed,
          delegations,
          context: input.context,
          slices,
          narrowFrom: input.narrowFrom,
        })
      : everyone([modelBefore, modelAfter], union, delegations)
  const evaluated = { can_read: 0, can_read_delegated: 0 }
  const ended = await comparePairs({
    sides: evaluators,
    groups: narrowed(groups, input, ({ relation }) => {
      evaluated[relation] += 1
    }),
    context: input.context,
    slices,
    limits: input.limits,
    take(...answer) {
      input.take(...answer)
      return true
    },
  })
  return { ...ended, people: evaluated.can_read, agents: evaluated.can_read_delegated }
}

/** About whatever they could have under one of the models: of the rest nobody has anything under either. */
function* everyone(
  models: readonly Model[],
  tuples: TupleView,
  delegations: readonly LiveDelegation[],
): Iterable<Group> {
  const could = createCould(models, tuples)
  const people = [strangerUser, ...namesIn(tuples).people].map(ownAsker)
  for (const asker of [...people, ...delegations.flatMap(delegatedAskers)])
    yield { asker, documents: could.read(asker) }
}

/** Delegations that the change makes, or adds somebody to: as if they were in force. */
function supposedDelegations(changed: readonly TupleKey[], views: readonly TupleView[]): LiveDelegation[] {
  const ids = new Set(
    changed
      .filter(({ object }) => object.startsWith('delegation:'))
      .map(({ object }) => splitObject(object).id),
  )
  return [...ids].flatMap((id) => {
    const named = (relation: string, type: string): string[] =>
      views.flatMap((view) => {
        const node = view.node(`delegation:${id}`)
        const found = node === undefined ? [] : (view.at(node, relation)?.concrete ?? [])
        return found.filter(({ user }) => user.type === type).map(({ user }) => user.name)
      })
    const agents = [...named('agent', 'agent'), ...named('sub_agent', 'agent')].map(
      (name) => splitObject(name).id,
    )
    return named('delegator', 'user').map(
      (subject): LiveDelegation => ({ id, subject: subject as FgaObject, agents }),
    )
  })
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
  for (const { asker, documents: documents } of groups) {
    const { user, agent = '', delegation = '' } = asker
    const name = `${user} ${agent} ${delegation}`
    if (evaluated.has(name) || wantedPeople?.has(user) === false) continue
    evaluated.add(name)
    const askedRelations =
      wantedDocuments === undefined
        ? documents
        : [...documents].filter((document) => wantedDocuments.has(document))
    if (!isEmpty(askedRelations)) onMet(asker)
    // Also where there is nothing to ask: to find that out took its time, and others have their turn in between.
    yield { asker, documents: askedRelations }
  }
}

const isEmpty = (iterable: Iterable<string>): boolean => iterable[Symbol.iterator]().next().done === true
