import { type Affected, affectedBy, type Model, type TupleKey, type TupleView } from '@remit/engine'
import { splitObject } from '../../kernel/ids.ts'
import {
  type Asker,
  type Compared,
  delegatedAskers,
  type LiveDelegation,
  ownAsker,
  stranger,
} from '../compare/askers.ts'
import type { Group, Slices } from '../compare/compare.ts'
import { namesIn } from '../compare/names.ts'

export interface ReachInput {
  readonly model: Model
  /** All of before and all of after. */
  readonly tuples: TupleView
  /** The tuples that are written or deleted, as they were and as they would be. */
  readonly changed: readonly TupleKey[]
  readonly delegations: readonly LiveDelegation[]
  readonly context: { readonly current_time: string }
  readonly slices: Slices
}

/**
 * Those whom a change of tuples can reach, each with the documents that it can reach: all others are answered as
 * before, and need not be asked about.
 */
export async function reachedBy(input: ReachInput): Promise<Group[]> {
  const { tuples, delegations } = input
  const own = await affectedOf(input, 'can_read')
  const lent = await affectedOf(input, 'can_read_delegated')
  const everybody = own.some(({ everybody }) => everybody) ? [stranger, ...namesIn(tuples).people] : []
  const people = new Set([...everybody, ...own.flatMap(({ users }) => [...users]).sort()])
  return [
    ...[...people].map((user) => groupOf(ownAsker(user), own)),
    ...delegations.flatMap(delegatedAskers).map((asker) => groupOf(asker, lent)),
  ].filter(({ documents }) => documents.size > 0)
}

/** By object and relation, so that a hundred members of one group are looked into once. */
async function affectedOf(
  { model, tuples, changed, context, slices }: ReachInput,
  relation: Compared,
): Promise<readonly Affected[]> {
  const target = model.types.get('document')?.get(relation)
  if (target === undefined) return []
  const found: Affected[] = []
  for (const keys of Map.groupBy(changed, ({ object, relation: on }) => `${object}#${on}`).values()) {
    const work = affectedBy(model, tuples, target, { keys, type: 'user', context })
    for (let next = work.next(); ; next = work.next()) {
      if (next.done === true) {
        found.push(next.value)
        break
      }
      await slices.pauseWhenOver()
    }
  }
  return found.filter(({ objects }) => objects.size > 0)
}

function groupOf(
  asker: Asker,
  affected: readonly Affected[],
): Group & { readonly documents: ReadonlySet<string> } {
  const bearing = affected.filter(
    ({ everybody, users, questions }) =>
      everybody ||
      users.has(asker.user) ||
      asker.contextual.some(({ object, relation }) =>
        questions.has(`${splitObject(object).type}#${relation} ${object}`),
      ),
  )
  return {
    asker,
    documents: new Set(bearing.flatMap(({ objects }) => [...objects].map((name) => splitObject(name).id))),
  }
}
