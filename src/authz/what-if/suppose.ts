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
import { type Asker, delegatedAskers, type LiveDelegation, ownAsker, stranger } from '../compare/askers.ts'
import {
  comparePairs,
  createSlices,
  type Ended,
  type Group,
  type PairLimits,
  type Verdicts,
} from '../compare/compare.ts'
import { namesIn } from '../compare/names.ts'
import type { SupposedChange } from './change.ts'
import { reachedBy } from './reach.ts'

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
  readonly take: (asker: Asker, document: string, verdicts: Verdicts) => void
}

export interface Supposed extends Ended {
  /** How many were asked about: people by themselves, agents for people under a delegation. */
  readonly people: number
  readonly agents: number
}

/**
 * Asks what may be read before and after a change that nobody makes: on the tuples with the change laid over them. Where
 * only tuples change, only those are asked about whom it can reach; with another model everybody, about everything.
 */
export async function suppose(input: SupposeInput): Promise<Supposed> {
  const { change, before, after, tuples } = input
  const slices = createSlices(input.now, input.pause)
  const sides = () => ({
    before: { model: before, tuples },
    after: { model: after, tuples: overlayTuples(tuples, change) },
  })
  const changed = [
    ...change.deletes.flatMap((key) => tuples.get(key) ?? []).map(keyOf),
    ...change.writes.flatMap((key) => tuples.get(key) ?? []).map(keyOf),
    ...change.writes,
  ]
  const delegations = [...input.delegations, ...supposedDelegations(changed, [tuples, sides().after.tuples])]
  const union = overlayTuples(tuples, { writes: change.writes })
  const groups =
    before === after
      ? await reachedBy({ model: after, tuples: union, changed, delegations, context: input.context, slices })
      : everyone(union, delegations)
  const asked = narrowed(groups, input)
  const ended = await comparePairs({
    sides,
    groups: asked,
    context: input.context,
    slices,
    limits: input.limits,
    take(...answer) {
      input.take(...answer)
      return true
    },
  })
  const own = asked.filter(({ asker }) => asker.relation === 'can_read').length
  return { ...ended, people: own, agents: asked.length - own }
}

function everyone(tuples: TupleView, delegations: readonly LiveDelegation[]): Group[] {
  const { people, documents } = namesIn(tuples)
  return [...[stranger, ...people].map(ownAsker), ...delegations.flatMap(delegatedAskers)].map((asker) => ({
    asker,
    documents,
  }))
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
function narrowed(groups: readonly Group[], { people, documents }: SupposeInput): Group[] {
  const wantedPeople = people && new Set(people)
  const wantedDocuments = documents && new Set(documents)
  const once = new Map(
    groups.map((group) => {
      const { user, agent, delegation } = group.asker
      return [`${user} ${agent ?? ''} ${delegation ?? ''}`, group]
    }),
  )
  return [...once.values()]
    .filter(({ asker }) => wantedPeople?.has(asker.user) ?? true)
    .map(({ asker, documents: all }) => ({
      asker,
      documents:
        wantedDocuments === undefined ? all : [...all].filter((document) => wantedDocuments.has(document)),
    }))
}
