import {
  type Allowed,
  type ListableModel,
  listAllowed,
  listable,
  type Model,
  type TupleStore,
  tuplesBehind,
} from '@remit/engine'
import { bitsIn, countBits, hasBit, setBit } from '../../kernel/bits.ts'
import { growArray } from '../../kernel/grow-array.ts'
import { splitObject } from '../../kernel/ids.ts'
import { createLru, type Lru } from '../../kernel/lru.ts'
import { memoize } from '../../kernel/memoize.ts'
import { contextAt } from '../fga.ts'
import type { LocalQuestion, ReachableAcls } from '../permission-index.ts'
import { Acls } from './acls.ts'
import { isOver, watchEnds } from './local.ts'
import type { Effect } from './replica.ts'

interface Kept extends ReachableAcls, Pick<Allowed, 'reached' | 'metBy' | 'standsWith'> {
  open: Uint8Array<ArrayBuffer>
  isOver: boolean
  /** Milliseconds since the epoch. */
  readonly madeAt: number
  /** Milliseconds since the epoch: an end on which it rests. */
  until(): number
  /** In names. */
  readonly weight: number
}

// What checks said on the way may be otherwise where tuples lead in a circle, and nothing tells of it.
const checkedMs = 5_000
const relations = ['can_read', 'can_read_delegated', 'can_be_told'] as const

/** Which ACLs somebody reaches by the whole model: remembered, and kept up as long as it stays right. */
export class Reachability {
  readonly #setsByKey: Lru<Kept>
  readonly #listeners: ((documentIds?: readonly string[]) => void)[] = []
  #listed: ListableModel | undefined
  #tuples: TupleStore | undefined
  #counted: ReadonlySet<string> | undefined
  #acls: Acls | undefined
  // By ACE, while somebody's ACLs are gone through; else nothing.
  #aceVerdicts = new Int32Array(0)

  /** `namesMax`: names that the kept sets hold together. Default 1 million, which takes about 50 MB. */
  constructor({ namesMax = 1_000_000 } = {}) {
    this.#setsByKey = createLru<Kept>({
      weightMax: namesMax,
      weightOf: (_, { weight }) => weight,
      onDrop: (aclSet) => {
        aclSet.isOver = true
      },
    })
  }

  useModel(model: Model): void {
    this.#listed = listable(model)
    const countedBefore = this.#counted
    this.#counted = countedBy(model)
    if (this.#acls === undefined || !isSame(countedBefore, this.#counted)) this.#standAnew()
    else this.#setsByKey.clear()
  }

  /** From now on of these tuples, of which nothing is known yet. */
  follow(tuples: TupleStore): void {
    this.#tuples = tuples
    this.#standAnew()
  }

  /** These were added while nobody asks. */
  filled(tuples: Iterable<{ readonly object: string }>): void {
    for (const { object } of tuples) if (isDocument(object)) this.#acls?.touch(object)
    this.#settle()
  }

  note(effects: readonly Effect[]): void {
    for (const { tuple } of effects) {
      const { object, relation } = tuple
      const isOnDocument = isDocument(object)
      if (isOnDocument && (this.#counted === undefined || this.#counted.has(relation)))
        this.#acls?.touch(object)
      // What is on a document concerns nobody but who comes to that document.
      if (isOnDocument && this.#counted !== undefined) continue
      const user = tuple.user.split('#')[0] ?? tuple.user
      for (const [key, { reached }] of this.#setsByKey.entries())
        if (reached.has(user)) this.#setsByKey.delete(key)
    }
    this.#settle()
  }

  /** undefined: the model has no such relation, or what is asked brings tuples on documents. */
  reachableAcls(question: LocalQuestion, now: number): ReachableAcls | undefined {
    return this.#aclSet(question, now)
  }

  /** Ids of the documents whose ACL is reached. undefined: the model has no such relation. */
  nominate(question: LocalQuestion, now: number): readonly string[] | undefined {
    const named = onDocuments(question)
    if (named.length === 0) return this.#idsAt(this.#aclSet(question, now))
    const found = this.#list(question, now)?.found
    if (found === undefined || this.#counted === undefined) return found?.objects.map(idOf)
    // What is on a document is nobody's way to another one.
    const contextual = question.contextual.filter(({ object }) => !isDocument(object))
    const ids = new Set(this.#idsAt(this.#make('', { ...question, contextual }, now)))
    // Of those it is on, it decides: it may also take away.
    for (const object of named) {
      if (found.holds(object)) ids.add(idOf(object))
      else ids.delete(idOf(object))
    }
    return [...ids]
  }

  /** -1: at none. */
  aclOf(documentId: string): number {
    return this.#acls?.aclOf(`document:${documentId}`) ?? -1
  }

  /**
   * Called with the ids of documents that stand elsewhere now; without, when that may be so of all of them.
   */
  onAclChange(listener: (documentIds?: readonly string[]) => void): void {
    this.#listeners.push(listener)
  }

  #tell(documentIds?: readonly string[]): void {
    for (const listener of this.#listeners) listener(documentIds)
  }

  #aclSet(question: LocalQuestion, now: number): Kept | undefined {
    if (onDocuments(question).length > 0) return undefined
    const key = keyOf(question)
    const recalled = this.#setsByKey.get(key)
    // A clock that was set back since took what had ended for over, and it is not.
    if (recalled !== undefined && now >= recalled.madeAt && !isOver(recalled.until(), now)) return recalled
    this.#setsByKey.delete(key)
    const newSet = this.#make(key, question, now)
    if (newSet !== undefined) this.#setsByKey.set(key, newSet)
    return newSet
  }

  #list({ user, relation: name, contextual }: LocalQuestion, now: number) {
    const [listed, tuples] = [this.#listed, this.#tuples]
    const relation = listed?.model.types.get('document')?.get(name)
    if (listed === undefined || relation === undefined || tuples === undefined) return undefined
    const { conditions, until: validUntil } = watchEnds(listed.model, now)
    const found = listAllowed(listed, { standing: tuples.standing, all: tuples }, relation, {
      user,
      contextualTuples: contextual,
      context: contextAt(now),
      conditions,
    })
    return { found, until: validUntil }
  }

  #make(key: string, question: LocalQuestion, now: number): Kept | undefined {
    const answer = this.#list(question, now)
    const acls = this.#acls
    if (answer === undefined || acls === undefined) return undefined
    const { found, until: validUntil } = answer
    const { reached, metBy, standsWith, restsOnChecks } = found
    const checkedUntil = restsOnChecks ? now + checkedMs : Number.POSITIVE_INFINITY
    const newSet: Kept = {
      key,
      madeAt: now,
      reached,
      metBy,
      standsWith,
      open: new Uint8Array((acls.end >> 3) + 1),
      // A bit for each ACL weighs little, but there may be many ACLs.
      weight: reached.size + (acls.end >> 8),
      isOver: false,
      until: () => Math.min(validUntil() ?? Number.POSITIVE_INFINITY, checkedUntil),
      has: (acl) => hasBit(newSet.open, acl),
      acls: () => bitsIn(newSet.open),
      count: () => countBits(newSet.open),
    }
    // Where there are no ACEs the walk came to the documents.
    if (this.#counted === undefined)
      for (const object of found.objects) setBit(newSet.open, acls.aclOf(object))
    else this.#openAll(newSet, acls)
    return newSet
  }

  /** Every ACL, by the ACEs that were reached: each is looked at, whether it is satisfied or not. */
  #openAll({ open: openBits, reached, metBy, standsWith }: Kept, acls: Acls): void {
    const { aces, end: aclCount } = acls
    if (this.#aceVerdicts.length < aces.end) this.#aceVerdicts = new Int32Array(2 * aces.end)
    const verdicts = this.#aceVerdicts
    const looked: number[] = []
    for (const user of reached) {
      for (const ace of aces.ofUser(user)) {
        verdicts[ace] = metOf(ace, metBy, aces)
        looked.push(ace)
      }
    }
    const ofAce = (ace: number): number => verdicts[ace] ?? 0
    for (let acl = 0; acl < aclCount; acl++) {
      const found = acls.bitsOf(acl, ofAce)
      if (found !== 0 && standsWith(found)) setBit(openBits, acl)
    }
    for (const ace of looked) verdicts[ace] = 0
  }

  #idsAt(aclSet: Kept | undefined): string[] | undefined {
    if (aclSet === undefined || this.#acls === undefined) return undefined
    const ids: string[] = []
    for (const acl of aclSet.acls()) for (const name of this.#acls.documentsOf(acl)) ids.push(idOf(name))
    return ids
  }

  #settle(): void {
    const acls = this.#acls
    if (acls === undefined) return
    const { moved, renewed } = acls.update()
    if (renewed.size > 0) for (const [, aclSet] of this.#setsByKey.entries()) reexamine(aclSet, renewed, acls)
    if (moved.length > 0) this.#tell(moved.map(idOf))
  }

  #standAnew(): void {
    this.#setsByKey.clear()
    this.#acls = this.#tuples && this.#listed && new Acls(this.#tuples, this.#counted)
    for (const { object } of this.#tuples?.after('') ?? [])
      if (isDocument(object.name)) this.#acls?.touch(object.name)
    this.#acls?.update()
    this.#tell()
  }
}

/** Evaluates ACLs that are new, for somebody who was asked about before. */
function reexamine(aclSet: Kept, renewed: ReadonlySet<number>, acls: Acls): void {
  if (aclSet.open.length <= acls.end >> 3) aclSet.open = growArray(aclSet.open, (acls.end >> 2) + 1)
  const { metBy, standsWith } = aclSet
  // Many that come at once share their ACEs.
  const verdictByAce = new Map<number, number>()
  const ofAce = (ace: number): number => {
    const found = verdictByAce.get(ace) ?? metOf(ace, metBy, acls.aces)
    verdictByAce.set(ace, found)
    return found
  }
  for (const acl of renewed) {
    // Where there are no ACEs, whoever a tuple on the document concerns was dropped.
    const found = acls.bitsOf(acl, ofAce)
    setBit(aclSet.open, acl, found !== 0 && standsWith(found))
  }
}

const onDocuments = ({ contextual }: LocalQuestion): string[] =>
  contextual.map(({ object }) => object).filter(isDocument)

const keyOf = memoize(({ user, relation, contextual }: LocalQuestion): string =>
  JSON.stringify([user, relation, contextual]),
)

function metOf(ace: number, metBy: Allowed['metBy'], aces: Acls['aces']): number {
  const tuple = aces.tuple(ace)
  return tuple === undefined ? 0 : metBy(tuple)
}

const isDocument = (object: string): boolean => object.startsWith('document:')
const idOf = (name: string): string => splitObject(name as `document:${string}`).id

/** Relations of documents whose tuples count for one of the questions. undefined: more than those counts. */
function countedBy(model: Model): ReadonlySet<string> | undefined {
  const names = new Set<string>()
  for (const name of relations) {
    const relation = model.types.get('document')?.get(name)
    const behind = relation === undefined ? new Set<string>() : tuplesBehind(model, relation)
    if (behind === undefined) return undefined
    for (const name of behind) names.add(name)
  }
  return names
}

const isSame = (a: ReadonlySet<string> | undefined, b: ReadonlySet<string> | undefined): boolean =>
  a === b || (a !== undefined && b !== undefined && a.size === b.size && [...a].every((name) => b.has(name)))
