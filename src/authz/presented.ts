import type { FgaObject } from '../kernel/ids.ts'
import type { TupleKey } from './fga.ts'

/** Who asks for whom, with what in hand. Ids without their type. */
interface Presented {
  readonly user: FgaObject
  /** The outermost actor. */
  readonly agent: FgaObject
  readonly delegation: string
  readonly grants?: readonly string[]
}

/** The request-only tuples of an agent's question: they come with it and are never stored. */
export const presentedTuples = ({ user, agent, delegation, grants = [] }: Presented): readonly TupleKey[] => [
  { user, relation: 'acting_for', object: agent },
  { user, relation: 'presented', object: `delegation:${delegation}` },
  ...grants.map((grant): TupleKey => ({ user, relation: 'presented', object: `grant:${grant}` })),
]
