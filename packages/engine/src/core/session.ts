import type { JsonObject } from './condition-values.ts'
import { ConditionError } from './errors.ts'
import { getOrInsert } from './get-or-insert.ts'
import type { Model, Relation } from './model.ts'
import { splitUser } from './names.ts'
import {
  type Bucket,
  findIn,
  type Node,
  nodesBeside,
  partOf,
  type Tuple,
  type TupleKey,
  type TupleView,
  tupleOf,
  userOf,
} from './tuples.ts'

/** What one subject sees: stored tuples, contextual tuples over them, and the context of conditions. */
export interface Session {
  readonly model: Model
  readonly user: { readonly node: Node; readonly relation: string; readonly label: string }
  /** The node of an object, also when no tuple names it. */
  node(name: string): Node
  /** Concrete users of this object and relation that fit the model; errors as in `Read`. */
  concrete(relation: Relation, node: Node): Read
  /** Usersets of this object and relation that fit the model and the filter. */
  usersets(relation: Relation, node: Node, wanted: (tuple: Tuple) => boolean): Read
  /**
   * The tuple straight from the subject. With `override` a contextual tuple hides the stored one of the same
   * key, as in the server's Check; without it, either may grant, as in its list calls.
   */
  direct(relation: Relation, node: Node, override: boolean): boolean | ConditionError
  /**
   * The tuples that `direct` looks at: contextual first. Whether they fit the model and hold is not looked
   * at.
   */
  ownTuples(relation: Relation, node: Node, override: boolean): readonly Tuple[]
  /** All tuples on this object and relation that fit the model, their conditions not looked at. */
  every(relation: Relation, node: Node, parts?: readonly BucketPart[]): Iterable<Tuple>
  contextual(): Iterable<Tuple>
  /** The stored tuples whose user this is. */
  into(node: Node): Iterable<Tuple>
  /** Whether the tuple fits the model; invalid ones are not seen. */
  isValid(relation: Relation, tuple: Tuple): boolean
  /** Whether the condition of a tuple holds. */
  holds(tuple: Tuple): boolean | ConditionError
}

type BucketPart = 'concrete' | 'usersets'

/** Tuples whose conditions hold. `error` is set only when none did and one could not be evaluated. */
export interface Read {
  readonly tuples: readonly Tuple[]
  readonly error: ConditionError | undefined
}

/** What one request sees: the user, context, contextual tuples, the store's tuples. */
export interface SessionInput {
  readonly user: string
  readonly contextualTuples?: readonly TupleKey[] | undefined
  readonly context?: JsonObject | undefined
}

const nothing: Read = { tuples: [], error: undefined }
const noContext: JsonObject = {}

/** What one request can read of the tuples. Not for reuse by another request. */
export function createSession(model: Model, tuples: TupleView, input: SessionInput): Session {
  const context = input.context ?? noContext
  const overlay = createOverlay(tuples, input.contextualTuples ?? [])
  const verdicts = new Map<Tuple, boolean | ConditionError>()
  const userParts = splitUser(input.user)
  const label = userParts.relation === '' ? userParts.type : `${userParts.type}#${userParts.relation}`
  const user = { node: overlay.node(userParts.object), relation: userParts.relation, label }

  function holds(tuple: Tuple): boolean | ConditionError {
    return (
      tuple.condition === undefined || getOrInsert(verdicts, tuple, () => evaluate(model, tuple, context))
    )
  }

  function isValid(relation: Relation, tuple: Tuple): boolean {
    if (relation.isTupleset && (tuple.userRelation !== '' || tuple.user.wildcard)) return false
    return accepts(model, relation, tuple)
  }

  function filter(relation: Relation, stored: readonly Tuple[], extra: readonly Tuple[]): Read {
    if (stored.length === 0 && extra.length === 0) return nothing
    const passed: Tuple[] = []
    let error: ConditionError | undefined
    for (const list of [extra, stored]) {
      for (const tuple of list) {
        if (!isValid(relation, tuple)) continue
        const verdict = holds(tuple)
        if (verdict === true) passed.push(tuple)
        else if (verdict !== false) error = verdict
      }
    }
    return { tuples: passed, error: passed.length === 0 ? error : undefined }
  }

  function ownTuples(relation: Relation, node: Node, override: boolean): readonly Tuple[] {
    const extra = findIn(overlay.at(node, relation.name), user.node, user.relation)
    const stored =
      extra !== undefined && override
        ? undefined
        : findIn(tuples.at(node, relation.name), user.node, user.relation)
    return [extra, stored].filter((tuple) => tuple !== undefined)
  }

  return {
    model,
    user,
    holds,
    isValid,
    node: overlay.node,
    contextual: () => overlay.tuples,
    into: tuples.into,
    concrete: (relation, node) =>
      filter(
        relation,
        tuples.at(node, relation.name)?.concrete ?? [],
        overlay.at(node, relation.name)?.concrete ?? [],
      ),
    usersets: (relation, node, isWanted) =>
      filter(
        relation,
        (tuples.at(node, relation.name)?.usersets ?? []).filter(isWanted),
        (overlay.at(node, relation.name)?.usersets ?? []).filter(isWanted),
      ),
    *every(relation, node, bucketParts = ['concrete', 'usersets']) {
      for (const bucket of [overlay.at(node, relation.name), tuples.at(node, relation.name)]) {
        for (const bucketPart of bucketParts) {
          for (const tuple of bucket?.[bucketPart] ?? []) if (isValid(relation, tuple)) yield tuple
        }
      }
    },
    ownTuples,
    direct(relation, node, override) {
      const found = ownTuples(relation, node, override)
      if (found.length === 0) return false
      const read = filter(relation, found, [])
      return read.error ?? read.tuples.length > 0
    },
  }
}

function evaluate(model: Model, tuple: Tuple, context: JsonObject): boolean | ConditionError {
  const name = tuple.condition?.name ?? ''
  const condition = model.conditions.get(name)
  if (condition === undefined) return new ConditionError(name, 'condition was not found')
  try {
    return condition.evaluate(
      context,
      tuple.condition?.context ?? noContext,
      () => `${tuple.object.name}#${tuple.relation}@${userOf(tuple)}`,
    )
  } catch (error) {
    if (error instanceof ConditionError) return error
    throw error
  }
}

function accepts(model: Model, relation: Relation, tuple: Tuple): boolean {
  const name = tuple.condition?.name ?? ''
  const facet = relation.restrictions.some(
    (restriction) =>
      restriction.type === tuple.user.type &&
      (restriction.relation ?? '') === tuple.userRelation &&
      (restriction.wildcard === true) === tuple.user.wildcard &&
      restriction.condition === name,
  )
  if (!facet || tuple.condition === undefined) return facet
  return model.conditions.get(name)?.accepts(tuple.condition.context) ?? false
}

/** Contextual tuples kept beside the store, on the store's own nodes where these exist. */
function createOverlay(store: TupleView, keys: readonly TupleKey[]) {
  const { findOrMake: node } = nodesBeside(store, -1)
  const buckets = new Map<Node, Map<string, Bucket>>()
  const tuples = keys.map((key) => tupleOf(key, node))
  for (const tuple of tuples) {
    const relations = getOrInsert(buckets, tuple.object, () => new Map<string, Bucket>())
    const bucket = getOrInsert(relations, tuple.relation, newBucket)
    partOf(bucket, tuple).push(tuple)
  }
  return {
    node,
    tuples,
    at: (object: Node, relation: string): Bucket | undefined => buckets.get(object)?.get(relation),
  }
}

const newBucket = (): Bucket => ({ concrete: [], usersets: [], index: undefined })
