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
import { splitObject } from '../../kernel/ids.ts'
import { createLru } from '../../kernel/lru.ts'
import { memoize } from '../../kernel/memoize.ts'
import { contextAt } from '../fga.ts'
import type { LocalQuestion, ReachableAcls } from '../permission-index.ts'
import { type Acls, createAcls } from './acls.ts'
import { isOver, watchEnds } from './ends.ts'
import type { Effect } from './replica.ts'

/** Which ACLs somebody reaches by the whole model: remembered, and kept up as long as it stays right. */
export interface Reachability {
  useModel(model: Model): void
  /** From now on of these tuples, of which nothing is known yet. */
  follow(tuples: TupleStore): void
  /** These were added while nobody asks. */
  filled(tuples: Iterable<{ readonly object: string }>): void
  note(effects: readonly Effect[]): void
  /** undefined: the model has no such relation, or what is asked brings tuples on documents. */
  reachableAcls(question: LocalQuestion, now: number): ReachableAcls | undefined
  /** Ids of the documents whose ACL is reached. undefined: the model has no such relation. */
  nominate(question: LocalQuestion, now: number): readonly string[] | undefined
  /** -1: at none. */
  aclOf(documentId: string): number
  /** Called with the ids of documents that stand elsewhere now; without, when that may be so of all of them. */
  onAclChange(listener: (documentIds?: readonly string[]) => void): void
}

interface Kept extends ReachableAcls, Pick<Allowed, 'reached' | 'metBy' | 'standsWith'> {
  open: Uint8Array
  isOver: boolean
  /** Milliseconds since the epoch: an end on which it rests. */
  until(): number
  /** In names. */
  readonly weight: number
}

/** `namesMax` limits the names that the kept sets hold together; 1,000,000 by default. */
export interface ReachabilityOptions {
  /** Names that are kept for all questions together. Default 1 million, which takes about 50 MB. */
  readonly namesMax?: number
}

// What checks said on the way may be otherwise where tuples lead in a circle, and nothing tells of it.
const checkedMs = 5_000
const relations = ['can_read', 'can_read_delegated', 'can_be_told'] as const

/** Makes the sets of ACLs that somebody satisfies, kept up while tuples change. */
export function createReachability(options: ReachabilityOptions = {}): Reachability {
  const { namesMax = 1_000_000 } = options
  const setsByKey = createLru<Kept>({
    weightMax: namesMax,
    weightOf: (_, { weight }) => weight,
    onDrop: (aclSet) => {
      aclSet.isOver = true
    },
  })
  const listeners: ((documentIds?: readonly string[]) => void)[] = []
  let listed: ListableModel | undefined
  let tuples: TupleStore | undefined
  let counted: ReadonlySet<string> | undefined
  let acls: Acls | undefined
  // By ACE, while somebody's ACLs are gone through; else nothing.
  let aceVerdicts = new Int32Array(0)

  const tell = (documentIds?: readonly string[]): void => {
    for (const listener of listeners) listener(documentIds)
  }

  function recall(key: string, now: number): Kept | undefined {
    const aclSet = setsByKey.get(key)
    if (aclSet === undefined || !isOver(aclSet.until(), now)) return aclSet
    setsByKey.delete(key)
    return undefined
  }

  function list({ user, relation: name, contextual }: LocalQuestion, now: number) {
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

  function make(key: string, question: LocalQuestion, now: number): Kept | undefined {
    const answer = list(question, now)
    if (answer === undefined || acls === undefined) return undefined
    const { found, until: validUntil } = answer
    const { reached, metBy, standsWith, restsOnChecks } = found
    const checkedUntil = restsOnChecks ? now + checkedMs : Number.POSITIVE_INFINITY
    const newSet: Kept = {
      key,
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
    if (counted === undefined) for (const object of found.objects) setBit(newSet.open, acls.aclOf(object))
    else openDoors(newSet, acls)
    return newSet
  }

  /** Every ACL, by the ACEs that were reached: each is looked at, whether it is satisfied or not. */
  function openDoors(
    { open: openBits, reached, metBy, standsWith }: Kept,
    { end: aclCount, bitsOf: anyOf, aces: aces }: Acls,
  ): void {
    if (aceVerdicts.length < aces.end) aceVerdicts = new Int32Array(2 * aces.end)
    const looked: number[] = []
    for (const user of reached) {
      for (let ace = aces.firstFor(user); ace !== -1; ace = aces.nextFor(ace)) {
        aceVerdicts[ace] = metOf(ace, metBy, aces)
        looked.push(ace)
      }
    }
    for (let acl = 0; acl < aclCount; acl++) {
      const found = anyOf(acl, (ace) => aceVerdicts[ace] ?? 0)
      if (found !== 0 && standsWith(found)) setBit(openBits, acl)
    }
    for (const ace of looked) aceVerdicts[ace] = 0
  }

  function idsAt(aclSet: Kept | undefined): string[] | undefined {
    if (aclSet === undefined || acls === undefined) return undefined
    const ids: string[] = []
    for (const acl of aclSet.acls()) for (const name of acls.documentsOf(acl)) ids.push(idOf(name))
    return ids
  }

  /** Evaluates ACLs that are new, for somebody who was asked about before. */
  function reexamine(
    aclSet: Kept,
    renewed: readonly number[],
    { end: aclCount, bitsOf: anyOf, aces: aces }: Acls,
  ): void {
    if (aclSet.open.length <= aclCount >> 3) {
      const openBits = new Uint8Array((aclCount >> 2) + 1)
      openBits.set(aclSet.open)
      aclSet.open = openBits
    }
    const { metBy, standsWith } = aclSet
    // Many that come at once share their ACEs.
    const verdictByAce = new Map<number, number>()
    const ofAce = (ace: number): number => {
      const found = verdictByAce.get(ace) ?? metOf(ace, metBy, aces)
      verdictByAce.set(ace, found)
      return found
    }
    for (const acl of renewed) {
      // Where there are no ACEs, whoever a tuple on the document concerns was dropped.
      const found = anyOf(acl, ofAce)
      setBit(aclSet.open, acl, found !== 0 && standsWith(found))
    }
  }

  function settle(): void {
    if (acls === undefined) return
    const { moved, renewed } = acls.update()
    if (renewed.length > 0) for (const [, aclSet] of setsByKey.entries()) reexamine(aclSet, renewed, acls)
    if (moved.length > 0) tell(moved.map(idOf))
  }

  function standAnew(): void {
    setsByKey.clear()
    acls = tuples && listed && createAcls(tuples, counted)
    for (const { object } of tuples?.after('') ?? []) if (isDocument(object.name)) acls?.touch(object.name)
    acls?.update()
    tell()
  }

  const onDocuments = ({ contextual }: LocalQuestion): string[] =>
    contextual.map(({ object }) => object).filter(isDocument)

  const keyOf = memoize(({ user, relation, contextual }: LocalQuestion): string =>
    JSON.stringify([user, relation, contextual]),
  )

  function aclSet(question: LocalQuestion, now: number): Kept | undefined {
    if (onDocuments(question).length > 0) return undefined
    const key = keyOf(question)
    const recalled = recall(key, now)
    if (recalled !== undefined) return recalled
    const newSet = make(key, question, now)
    if (newSet !== undefined) setsByKey.set(key, newSet)
    return newSet
  }

  return {
    reachableAcls: aclSet,
    useModel(model) {
      listed = listable(model)
      const countedBefore = counted
      counted = countedBy(model)
      if (acls === undefined || !isSame(countedBefore, counted)) standAnew()
      else setsByKey.clear()
    },
    follow(store) {
      tuples = store
      standAnew()
    },
    filled(added) {
      for (const { object } of added) if (isDocument(object)) acls?.touch(object)
      settle()
    },
    note(effects) {
      for (const { tuple } of effects) {
        const { object, relation } = tuple
        const isOnDocument = isDocument(object)
        if (isOnDocument && (counted === undefined || counted.has(relation))) acls?.touch(object)
        // What is on a document concerns nobody but who comes to that document.
        if (isOnDocument && counted !== undefined) continue
        const user = tuple.user.split('#')[0] ?? tuple.user
        for (const [key, { reached }] of setsByKey.entries()) if (reached.has(user)) setsByKey.delete(key)
      }
      settle()
    },
    nominate(question, now) {
      const named = onDocuments(question)
      if (named.length === 0) return idsAt(aclSet(question, now))
      const found = list(question, now)?.found
      if (found === undefined || counted === undefined) return found?.objects.map(idOf)
      // What is on a document is nobody's way to another one.
      const contextual = question.contextual.filter(({ object }) => !isDocument(object))
      const ids = new Set(idsAt(make('', { ...question, contextual }, now)))
      // Of those it is on, it decides: it may also take away.
      for (const object of named) {
        if (found.holds(object)) ids.add(idOf(object))
        else ids.delete(idOf(object))
      }
      return [...ids]
    },
    aclOf: (documentId) => acls?.aclOf(`document:${documentId}`) ?? -1,
    onAclChange(listener) {
      listeners.push(listener)
    },
  }
}

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
