import type { Relation } from '@remit/engine'

/** `user`, `user:*`, `group#member`: a kind of subject that a model takes, without its condition. */
export const labelOf = ({ type, relation, wildcard }: Relation['restrictions'][number]): string =>
  `${type}${wildcard === undefined ? '' : ':*'}${relation === undefined ? '' : `#${relation}`}`
