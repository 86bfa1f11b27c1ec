import type { FgaObject } from '../../kernel/ids.ts'
import type { TupleKey } from '../fga.ts'

/** `strict`: past every cache. */
export type Consistency = 'fast' | 'strict'

/** The question for one principal: relation and request-only tuples. See model.fga. */
export interface Question {
  readonly user: FgaObject
  readonly relation: 'can_read' | 'can_read_delegated'
  readonly contextual: readonly TupleKey[]
}
