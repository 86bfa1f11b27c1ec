import { type Dependents, dependentsOf, type Model, type TupleKey, type TupleView } from '@remit/engine'
import { splitObject } from '../../kernel/ids.ts'
import {
  type Asker,
  type Compared,
  delegatedAskers,
  type LiveDelegation,
  ownAsker,
  strangerUser,
} from '../compare/askers.ts'
import type { Group, Slices } from '../compare/compare.ts'
import { namesIn } from '../compare/names.ts'
import { type Could, createCould } from './could.ts'

/** A model, the tuples of before and after together, and the tuples that change. */
export interface ReachInput {
  readonly model: Model
  /** All of before and all of after. */
  readonly tuples: TupleView
  /** The tuples that are written or deleted, as they were and as they would be. */
  readonly changed: readonly TupleKey[]
  readonly delegations: readonly LiveDelegation[]
  readonly context: { readonly current_time: string }
  readonly slices: Slices
  /** Fewer documents are asked about sooner than it is found out which of them somebody could have. Default 200. */
  readonly narrowFrom?: number | undefined
}

/** With the ids of its documents, made once for all who share them. */
interface Reached extends Dependents {
  readonly documents: readonly string[]
}

/**
 * Those whom a change of tuples can reach, each with the documents that it can reach: all others are answered as
 * before, and need not be asked about. Each group is made when its turn comes.
 */
export async function reachedBy(input: ReachInput): Promise<Iterable<Group>> {
  const ownAffected = await affectedOf(input, 'can_read')
  const lentAffected = await affectedOf(input, 'can_read_delegated')
  return groupsOf(input, ownAffected, lentAffected)
}

function* groupsOf(
  { model, tuples, delegations, narrowFrom = 200 }: ReachInput,
  ownAffected: readonly Reached[],
  lentAffected: readonly Reached[],
): Iterable<Group> {
  const could = createCould([model], tuples)
  const everybody = ownAffected.some((affected) => affected.everybody)
    ? [strangerUser, ...namesIn(tuples).people]
    : []
  const people = new Set([...everybody, ...ownAffected.flatMap(({ users }) => [...users]).sort()])
  for (const user of people) {
    const asker = ownAsker(user)
    const bearing = ownAffected.filter((affected) => affected.everybody || affected.users.has(user))
    yield { asker, documents: documentsOf(asker, bearing, could, narrowFrom) }
  }
  for (const asker of delegations.flatMap(delegatedAskers)) {
    const bearing = lentAffected.filter((affected) => affected.everybody || bears(affected, asker, could))
    yield { asker, documents: documentsOf(asker, bearing, could, narrowFrom) }
  }
}

/** By object and relation, so that a hundred members of one group are looked into once. */
async function affectedOf(
  { model, tuples, changed, context, slices }: ReachInput,
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

/** All agents of one name share what a request of theirs brings: whether it is enough for this one is asked. */
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
      : new Set(bearing.flatMap(({ documents }) => documents))
  const count = Array.isArray(documents) ? documents.length : (documents as ReadonlySet<string>).size
  if (count < narrowFrom) return documents
  const theirs = could.read(asker)
  return [...documents].filter((document) => theirs.has(document))
}
