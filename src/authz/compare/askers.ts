import type { TupleView } from '@remit/engine'
import { type FgaObject, splitObject } from '../../kernel/ids.ts'
import type { TupleKey } from '../fga.ts'
import { presentedTuples } from '../presented.ts'

/** What is compared: what a person reads, and what an agent is told for them. */
export type Compared = 'can_read' | 'can_read_delegated'

/** A delegation in force, as far as the comparison needs it. */
export interface LiveDelegation {
  readonly id: string
  /** `user:anne` */
  readonly subject: FgaObject
  /** `research-bot` and those to which it may be passed on. */
  readonly agents: readonly string[]
}

/** Somebody for whom every document is asked about, as the gate would. */
export interface Asker {
  /** `user:anne`, `anyone`, or `user:anne by agent:research-bot`. */
  readonly who: string
  readonly user: string
  readonly agent?: string
  readonly delegation?: string
  readonly relation: Compared
  readonly contextual: readonly TupleKey[]
}

/** Stands for everybody for whom no tuple is stored. No id that may be written looks like this. */
export const strangerUser = 'user:!anyone'

/** A person who reads for themselves. */
export const ownAsker = (user: string): Asker => ({
  who: user === strangerUser ? 'anyone' : user,
  user,
  relation: 'can_read',
  contextual: [],
})

/** A person's agents, one asker for each delegation in force. */
export const delegatedAskers = ({ id, subject, agents }: LiveDelegation): Asker[] =>
  agents.map((agent) => ({
    who: `${subject} by agent:${agent}`,
    user: subject,
    agent: `agent:${agent}`,
    delegation: id,
    relation: 'can_read_delegated',
    contextual: presentedTuples({ user: subject, agent: `agent:${agent}`, delegation: id }),
  }))

/** The names that a comparison asks about. */
export interface Names {
  /** `user:anne` */
  readonly people: readonly string[]
  /** Ids. */
  readonly documents: readonly string[]
}

/** Every person and document that a tuple names, each in the order of its name. */
export function namesIn(tuples: TupleView): Names {
  const people = new Set<string>()
  const documents = new Set<string>()
  for (const { user, userRelation, object } of tuples.after('')) {
    if (user.type === 'user' && userRelation === '' && !user.wildcard) people.add(user.name)
    if (object.type === 'document') documents.add(splitObject(object.name).id)
  }
  return { people: [...people].sort(), documents: [...documents].sort() }
}

/** Everybody who reads for themselves, those for whom nothing is stored among them, then the agents. */
export const askersOf = (people: readonly string[], delegations: readonly LiveDelegation[]): Asker[] => [
  ...[strangerUser, ...people].map(ownAsker),
  ...delegations.flatMap(delegatedAskers),
]
