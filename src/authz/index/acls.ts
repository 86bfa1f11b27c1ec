import type { TupleStore } from '@remit/engine'
import { type Aces, createAces } from './aces.ts'

/**
 * Access-control lists: documents with the same tuples on them are reached alike by everybody, and share one ACL. What
 * such a tuple says is an ACE, which many ACLs share. Walks from people to documents pass by documents that have an ACL.
 */
export interface Acls {
  /** One more than the largest number. Numbers of ACLs that are gone are given again. */
  readonly end: number
  /** The tuples on this document are others now: the next `settle` looks at it. */
  touch(document: string): void
  /** Gives every document that was touched the ACL of the tuples that are on it now. */
  update(): AclChanges
  /** -1: at none, since there is no tuple on it that could let anybody in. */
  aclOf(document: string): number
  /** All documents that have this ACL. */
  documentsOf(acl: number): Generator<string>
  /** The bits that `ofAce` gives for the ACEs of this ACL, joined by OR. 0: there is no such ACL. */
  bitsOf(acl: number, ofAce: (ace: number) => number): number
  readonly aces: Pick<Aces, 'end' | 'tuple' | 'firstFor' | 'nextFor'>
}

/** What a change of tuples did to the ACLs. */
export interface AclChanges {
  /** Documents that have another ACL than before, or none. */
  readonly moved: readonly string[]
  /** Numbers of ACLs that are new or gone: what was known of them is over. */
  readonly renewed: readonly number[]
}

const noEntry = -1

/**
 * `relations`: whose tuples count. undefined: documents are told apart by more than those: each has an ACL of its
 * own, without ACEs, and walks come to all of them.
 */
export function createAcls(tuples: TupleStore, relations: ReadonlySet<string> | undefined): Acls {
  const aces = createAces()
  // By document: a place each. The documents of an ACL are a list through their places.
  const entryByDocument = new Map<string, number>()
  const names: string[] = []
  const aclOfEntry: number[] = []
  const nextEntry: number[] = []
  const previousEntry: number[] = []
  const freePlaces: number[] = []
  // By ACL. Its ACEs are a list through links.
  const numbers = new Map<string, number>()
  const keys: (string | undefined)[] = []
  const firstEntry: number[] = []
  const firstLink: number[] = []
  const freeDoors: number[] = []
  const linked: number[] = []
  const nextLink: number[] = []
  const freeLinks: number[] = []
  const touched = new Set<string>()

  /** The same for equal sets of tuples, whatever their order and the ends that they have. */
  function locksOf(document: string): number[] {
    const found: number[] = []
    for (const [relation, { concrete, usersets }] of tuples.node(document)?.out ?? []) {
      if (!relations?.has(relation)) continue
      for (const tuple of concrete) found.push(aces.of(tuple))
      for (const tuple of usersets) found.push(aces.of(tuple))
    }
    return found.sort((a, b) => a - b)
  }

  const doorOf = (document: string): number => aclOfEntry[entryByDocument.get(document) ?? noEntry] ?? noEntry

  function leave(document: string, acl: number, renewed: Set<number>): void {
    const entry = entryByDocument.get(document) ?? noEntry
    const [nextInAcl = noEntry, previousInAcl = noEntry] = [nextEntry[entry], previousEntry[entry]]
    if (nextInAcl !== noEntry) previousEntry[nextInAcl] = previousInAcl
    if (previousInAcl !== noEntry) nextEntry[previousInAcl] = nextInAcl
    if (firstEntry[acl] === entry) {
      firstEntry[acl] = nextInAcl
      if (nextInAcl === noEntry) close(acl, renewed)
    }
    aclOfEntry[entry] = noEntry
  }

  function openAcl(key: string, aceNumbers: readonly number[], renewed: Set<number>): number {
    const acl = freeDoors.pop() ?? keys.length
    numbers.set(key, acl)
    keys[acl] = key
    firstEntry[acl] = noEntry
    let link = noEntry
    for (const ace of aceNumbers) {
      const newLink = freeLinks.pop() ?? linked.length
      linked[newLink] = ace
      nextLink[newLink] = link
      link = newLink
      aces.retain(ace)
    }
    firstLink[acl] = link
    renewed.add(acl)
    return acl
  }

  function close(acl: number, renewed: Set<number>): void {
    numbers.delete(keys[acl] ?? '')
    keys[acl] = undefined
    for (let link = firstLink[acl] ?? noEntry; link !== noEntry; link = nextLink[link] ?? noEntry) {
      aces.release(linked[link] ?? noEntry)
      freeLinks.push(link)
    }
    firstLink[acl] = noEntry
    freeDoors.push(acl)
    renewed.add(acl)
  }

  function join(document: string, acl: number): void {
    const entry = entryByDocument.get(document) ?? freePlaces.pop() ?? names.length
    entryByDocument.set(document, entry)
    names[entry] = document
    aclOfEntry[entry] = acl
    const nextInAcl = firstEntry[acl] ?? noEntry
    previousEntry[entry] = noEntry
    nextEntry[entry] = nextInAcl
    if (nextInAcl !== noEntry) previousEntry[nextInAcl] = entry
    firstEntry[acl] = entry
  }

  function forget(document: string): void {
    const entry = entryByDocument.get(document)
    if (entry === undefined) return
    entryByDocument.delete(document)
    names[entry] = ''
    freePlaces.push(entry)
  }

  return {
    get end() {
      return keys.length
    },
    touch(document) {
      touched.add(document)
    },
    update() {
      const moved: string[] = []
      const renewed = new Set<number>()
      for (const document of touched) {
        const aceNumbers = locksOf(document)
        const isThere = relations === undefined ? tuples.node(document)?.out.size : aceNumbers.length
        const key = !isThere ? '' : relations === undefined ? document : aceNumbers.join()
        // Its node may be another one than before, of which nothing is known.
        tuples.setApart(document, aceNumbers.length > 0)
        const acl = doorOf(document)
        if (acl === noEntry ? key === '' : keys[acl] === key) continue
        if (acl !== noEntry) leave(document, acl, renewed)
        if (key === '') forget(document)
        else join(document, numbers.get(key) ?? openAcl(key, aceNumbers, renewed))
        moved.push(document)
      }
      touched.clear()
      aces.sweep()
      return { moved, renewed: [...renewed] }
    },
    aclOf: doorOf,
    *documentsOf(acl) {
      if (keys[acl] === undefined) return
      for (let entry = firstEntry[acl] ?? noEntry; entry !== noEntry; entry = nextEntry[entry] ?? noEntry) {
        const name = names[entry]
        if (name !== undefined) yield name
      }
    },
    bitsOf(acl, ofAce) {
      let found = 0
      for (let link = firstLink[acl] ?? noEntry; link !== noEntry; link = nextLink[link] ?? noEntry)
        found |= ofAce(linked[link] ?? noEntry)
      return found
    },
    aces: aces,
  }
}
