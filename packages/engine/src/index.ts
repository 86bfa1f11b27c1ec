export { type Affected, type AffectedInput, affectedBy } from './affected.ts'
export { type Allowed, type ListableModel, listAllowed, listable, tuplesBehind } from './allowed.ts'
export { type CheckPart, createTakeApart, type TakeApart } from './apart.ts'
export { type CheckRequest, check, createMemo, type Memo } from './check.ts'
export type { Json, JsonObject, ParamType } from './condition-values.ts'
export type { Condition } from './conditions.ts'
export { createEngine, type Engine, type EngineOptions } from './engine.ts'
export { ConditionError, FgaError } from './errors.ts'
export { type ExplainOptions, explain } from './explain/explain.ts'
export type {
  ConditionState,
  Explanation,
  Holds,
  Lack,
  Part,
  Question,
  Reason,
  Step,
} from './explain/reasons.ts'
export type { ChangeQuery, ChangeRow, Journal, ModelRow, StoreRow, TupleRow, WriteBatch } from './journal.ts'
export { listObjects } from './list-objects.ts'
export { listUsers } from './list-users.ts'
export { compileModel, type Model, type Relation, type Rewrite } from './model.ts'
export { overlayTuples, type TupleChange } from './overlay.ts'
export { type ReachingUsers, type ReachingUsersOptions, reachingUsers } from './reaching-users.ts'
export { listCandidates, relaxModel } from './relax.ts'
export { createSession, type Session, type SessionInput } from './session.ts'
export {
  createTupleStore,
  keyOf,
  type Node,
  type Tuple,
  type TupleKey,
  type TupleStore,
  type TupleView,
  userOf,
} from './tuples.ts'
export { ulidFloor, ulidTime } from './ulid.ts'
export { checkKey, checkTuple, checkUser, type Misfit } from './validity.ts'
export { findWeightedProblems, type WeightedProblem } from './weighted.ts'
export { findWeightedDifferences, type WeightedDifference } from './weighted-differences.ts'
