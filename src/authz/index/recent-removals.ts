import { type Model, type Node, type Relation, type Rewrite, type TupleStore, tuplesOn } from '@remit/engine'
import { documentObject } from '../../kernel/ids.ts'
import type { StoredTuple } from '../fga.ts'
import type { Effect } from './replica.ts'

// Objects that are told of while a question is answered; beyond them it is asked whole.
const objectsMax = 10_000

/**
 * The objects of all tuples of which the log told lately, added or removed: in the order in which it did, by
 * no clock.
 */
export class ChangedObjects {
  // The latest last.
  readonly #latest = new Map<string, number>()
  #count = 0
  #knownFrom = 0

  /** Grows with every change. */
  get count(): number {
    return this.#count
  }

  note(objects: Iterable<string>): void {
    for (const object of objects) {
      this.#count += 1
      setLatest(this.#latest, object, this.#count)
    }
    for (const [object, position] of this.#latest) {
      if (this.#latest.size <= objectsMax) break
      this.#latest.delete(object)
      this.#knownFrom = position
    }
  }

  /** Those of which it told since it was at `count`; undefined: more than is remembered. */
  since(count: number): ReadonlySet<string> | undefined {
    if (count < this.#knownFrom) return undefined
    const found = new Set<string>()
    if (count === this.#count) return found
    for (const [object, position] of this.#latest) if (position > count) found.add(object)
    return found
  }

  /** Nothing is known of what was before now. */
  forget(): void {
    this.#latest.clear()
    this.#count += 1
    this.#knownFrom = this.#count
  }
}

/** In milliseconds by both clocks: the machine's, and the one that never jumps. */
interface Seen {
  readonly at: number
  readonly steady: number
}

/**
 * What was seen to be taken away lately, by the object of the tuple that did it. A document is touched when a
 * tuple that was removed, or was added where a model subtracts, is on an object that it leads to: along any
 * path that broke, the first edge that is missing starts at an object that the document still leads to.
 *
 * It is lately by either clock: what is remembered against a yes gets old late, also where the machine sleeps
 * or its clock is set forward. What a clock said that was set back since counts as seen now, once.
 */
export class RecentRemovals {
  readonly #keepMs: number
  readonly #deps: { readonly now: () => number; readonly steady: () => number }
  #lookedAt = Number.NEGATIVE_INFINITY
  // The latest last.
  readonly #seenByObject = new Map<string, Seen>()
  // undefined before the first model: then any tuple may take away.
  #subtracts: ReadonlySet<string> | undefined
  #knownSince: Seen = { at: Number.POSITIVE_INFINITY, steady: Number.POSITIVE_INFINITY }

  /** `keepMs` is how long a change is remembered, at least, by `steady`. */
  constructor(keepMs: number, now: () => number, steady: () => number) {
    this.#keepMs = keepMs
    this.#deps = { now, steady }
  }

  /** Gives the objects of those that take away, as seen now. */
  note(effects: readonly Effect[]): readonly string[] {
    const seenNow = this.#look()
    const objects = effects.filter((effect) => this.#takesAway(effect)).map(({ tuple }) => tuple.object)
    for (const object of objects) setLatest(this.#seenByObject, object, seenNow)
    for (const [object, { at, steady }] of this.#seenByObject) {
      if (steady >= seenNow.steady - this.#keepMs) break
      this.#seenByObject.delete(object)
      const { at: knownAt, steady: knownSteady } = this.#knownSince
      this.#knownSince = { at: Math.max(knownAt, at + 1), steady: Math.max(knownSteady, steady + 1) }
    }
    return objects
  }

  /** Before now nothing is known: what is asked about earlier times is answered with "all". */
  forget(): void {
    this.#seenByObject.clear()
    this.#knownSince = this.#look()
  }

  /** Which relations take away in this model. */
  useModel(model: Model): void {
    this.#subtracts = subtractingRelations(model)
  }

  /** `sinceMs` is by the machine's clock. */
  touched(documentIds: readonly string[], sinceMs: number, tuples: TupleStore): ReadonlySet<string> {
    const seenNow = this.#look()
    const sinceSteady = seenNow.steady - (seenNow.at - sinceMs)
    if (sinceMs < this.#knownSince.at || sinceSteady < this.#knownSince.steady) return new Set(documentIds)
    const hit = new Set<string>()
    for (const [object, { at, steady }] of this.#seenByObject)
      if (at >= sinceMs || steady >= sinceSteady) hit.add(object)
    return leadingTo(documentIds, hit, tuples)
  }

  /** What the clock said before it was set back would be lately for as long as that was. */
  #look(): Seen {
    const seenNow = { at: this.#deps.now(), steady: this.#deps.steady() }
    const isSetBack = seenNow.at < this.#lookedAt
    this.#lookedAt = seenNow.at
    if (!isSetBack) return seenNow
    for (const [object, seen] of this.#seenByObject)
      if (seen.at > seenNow.at) this.#seenByObject.set(object, { ...seen, at: seenNow.at })
    const { at } = this.#knownSince
    if (at > seenNow.at && Number.isFinite(at)) this.#knownSince = seenNow
    return seenNow
  }

  #takesAway({ kind, tuple }: Effect): boolean {
    return kind !== 'added' || this.#subtracts === undefined || this.#subtracts.has(keyOf(tuple))
  }
}

function setLatest<Value>(map: Map<string, Value>, key: string, value: Value): void {
  map.delete(key)
  map.set(key, value)
}

/**
 * Those of the documents from which tuples lead to one of the objects, or that are one. Where no tuple leads
 * to any of the objects nothing is walked: each minute the marker of epochs is written anew, and for as long
 * as that is remembered every held yes would walk its document's graph for it.
 */
export function leadingTo(
  documentIds: readonly string[],
  objects: ReadonlySet<string>,
  tuples: TupleStore,
): ReadonlySet<string> {
  if (objects.size === 0) return new Set()
  const areLedTo = [...objects].some((object) => isLedTo(object, tuples))
  const clean = new Set<Node>()
  return new Set(
    documentIds.filter((id) => {
      const name = documentObject(id)
      return areLedTo ? leadsToAny(name, objects, clean, tuples) : objects.has(name)
    }),
  )
}

function isLedTo(object: string, tuples: TupleStore): boolean {
  const node = tuples.node(object)
  if (node === undefined) return false
  for (const _ of tuples.into(node)) return true
  return false
}

const keyOf = ({ object, relation }: StoredTuple): string =>
  `${object.slice(0, object.indexOf(':'))}#${relation}`

/** Whether tuples lead from the object to one of the names. `clean` grows by all that lead to none. */
export function leadsToAny(
  name: string,
  names: ReadonlySet<string>,
  clean: Set<Node>,
  tuples: TupleStore,
): boolean {
  if (names.has(name)) return true
  const startNode = tuples.node(name)
  if (startNode === undefined) return false
  const found = new Set([startNode])
  for (const node of found) {
    if (names.has(node.name)) return true
    for (const { user } of tuplesOn(node)) if (!clean.has(user)) found.add(user)
  }
  for (const node of found) clean.add(node)
  return false
}

/** `type#relation` of all that a `but not` of the model may rest on: a tuple there can take away. */
export function subtractingRelations(model: Model): ReadonlySet<string> {
  const allRelations = [...model.types.values()].flatMap((relations) => [...relations.values()])
  const found = new Set<Relation>()
  for (const relation of allRelations)
    for (const subtractedRewrite of subtracted(relation.rewrite))
      add(found, subtractedRewrite, relation, model)
  for (const relation of found) {
    add(found, relation.rewrite, relation, model)
    for (const { type, relation: name } of relation.restrictions) {
      const userset = name === undefined ? undefined : model.types.get(type)?.get(name)
      if (userset !== undefined) found.add(userset)
    }
  }
  return new Set([...found].map(({ key }) => key))
}

function subtracted(rewrite: Rewrite): Rewrite[] {
  if (rewrite.kind === 'exclusion') return [rewrite.subtract, ...subtracted(rewrite.base)]
  return rewrite.kind === 'union' || rewrite.kind === 'intersection'
    ? rewrite.children.flatMap(subtracted)
    : []
}

/** Adds the relations that a rule of `owner` reads. */
function add(found: Set<Relation>, rewrite: Rewrite, owner: Relation, model: Model): void {
  switch (rewrite.kind) {
    case 'this':
      found.add(owner)
      return
    case 'computed':
      found.add(rewrite.relation)
      return
    case 'ttu': {
      const tupleset = model.types.get(owner.type)?.get(rewrite.tupleset)
      if (tupleset !== undefined) found.add(tupleset)
      for (const target of rewrite.targets.values()) found.add(target)
      return
    }
    case 'exclusion':
      add(found, rewrite.base, owner, model)
      add(found, rewrite.subtract, owner, model)
      return
    default:
      for (const child of rewrite.children) add(found, child, owner, model)
  }
}
