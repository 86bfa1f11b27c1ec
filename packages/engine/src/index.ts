export { type Allowed, type ListableModel, listAllowed, listable, tuplesBehind } from './analysis/allowed.ts'
export { type CheckPart, createDecomposeCheck, type DecomposeCheck } from './analysis/decompose-check.ts'
export { type Dependents, type DependentsInput, dependentsOf } from './analysis/dependents.ts'
export { explain } from './analysis/explain/explain.ts'
export type {
  Explanation,
  Holds,
  Part,
  Question,
  Reason,
  Step,
} from './analysis/explain/reasons.ts'
export {
  listCandidates,
  overApproximate,
  type SubjectUpperBound,
  subjectUpperBound,
} from './analysis/over-approximate.ts'
export { overlayTuples, type TupleChange } from './analysis/overlay.ts'
export { type CheckRequest, check, createMemo, type Memo } from './core/check.ts'
export type { Json, JsonObject } from './core/condition-values.ts'
export type { Condition } from './core/conditions.ts'
export { ConditionError, FgaError } from './core/errors.ts'
export { listObjects } from './core/list-objects.ts'
export { listUsers } from './core/list-users.ts'
export { compileModel, type Model, type Relation, type Rewrite } from './core/model.ts'
export { createTupleStore, type TupleStore } from './core/tuple-store.ts'
export {
  keyOf,
  type Node,
  type Tuple,
  type TupleKey,
  type TupleView,
  tuplesOn,
} from './core/tuples.ts'
export { ulidFloor, ulidTime } from './core/ulid.ts'
export { checkKey, checkTuple, checkUser, type Misfit } from './core/validity.ts'
export { createEngine, type Engine, type EngineOptions } from './server/engine.ts'
export type {
  ChangeRow,
  Journal,
  ModelRow,
  StoreRow,
  TupleRow,
} from './server/journal.ts'
