import { type Tuple, type TupleStore, tuplesOn } from '@remit/engine'
import { GroupedNumbers } from '../../kernel/grouped-numbers.ts'

/** What a change of tuples did to the ACLs. */
export interface AclChanges {
  /** Documents that have another ACL than before, or none. */
  readonly moved: readonly string[]
  /** Numbers of ACLs that are new or gone: what was known of them is over. */
  readonly renewed: ReadonlySet<number>
}

const none = -1

/**
 * Access-control lists: documents with the same tuples on them are reached alike by everybody, and share one
 * ACL. What such a tuple says is an ACE, which many ACLs share. Walks from people to documents pass by
 * documents that have an ACL.
 */
export class Acls {
  readonly aces = new Aces()
  readonly #tuples: TupleStore
  readonly #relations: ReadonlySet<string> | undefined
  // By document: a place each.
  readonly #placeByDocument = new Map<string, number>()
  readonly #names: string[] = []
  readonly #aclOfPlace = new GroupedNumbers()
  readonly #freePlaces: number[] = []
  // By ACL.
  readonly #numbers = new Map<string, number>()
  readonly #keys: (string | undefined)[] = []
  readonly #acesOfAcl: (readonly number[])[] = []
  readonly #freeAcls: number[] = []
  readonly #touched = new Set<string>()

  /**
   * `relations`: whose tuples count. undefined: documents are told apart by more than those: each has an ACL
   * of its own, without ACEs, and walks come to all of them.
   */
  constructor(tuples: TupleStore, relations: ReadonlySet<string> | undefined) {
    this.#tuples = tuples
    this.#relations = relations
  }

  /** One more than the largest number. Numbers of ACLs that are gone are given again. */
  get end(): number {
    return this.#keys.length
  }

  /** The tuples on this document are others now: the next {@link update} looks at it. */
  touch(document: string): void {
    this.#touched.add(document)
  }

  /** Gives every document that was touched the ACL of the tuples that are on it now. */
  update(): AclChanges {
    const moved: string[] = []
    const renewed = new Set<number>()
    for (const document of this.#touched) {
      const aces = this.#acesOn(document)
      const key = this.#relations === undefined ? this.#ownKey(document) : aces.join()
      // Its node may be another one than before, of which nothing is known.
      this.#tuples.setApart(document, aces.length > 0)
      const acl = this.aclOf(document)
      if (acl === none ? key === '' : this.#keys[acl] === key) continue
      if (acl !== none) this.#leave(document, acl, renewed)
      if (key === '') this.#forget(document)
      else this.#join(document, this.#numbers.get(key) ?? this.#open(key, aces, renewed))
      moved.push(document)
    }
    this.#touched.clear()
    this.aces.sweep()
    return { moved, renewed }
  }

  /** -1: at none, since there is no tuple on it that could let anybody in. */
  aclOf(document: string): number {
    return this.#aclOfPlace.groupOf(this.#placeByDocument.get(document) ?? none)
  }

  /** All documents that have this ACL. */
  *documentsOf(acl: number): Generator<string> {
    for (let place = this.#aclOfPlace.first(acl); place !== none; place = this.#aclOfPlace.next(place)) {
      const name = this.#names[place]
      if (name !== undefined) yield name
    }
  }

  /** The bits that `ofAce` gives for the ACEs of this ACL, joined by OR. 0: there is no such ACL. */
  bitsOf(acl: number, ofAce: (ace: number) => number): number {
    let found = 0
    for (const ace of this.#acesOfAcl[acl] ?? []) found |= ofAce(ace)
    return found
  }

  /** The same for equal sets of tuples, whatever their order and the ends that they have. */
  #acesOn(document: string): number[] {
    const found: number[] = []
    for (const tuple of this.#tuplesOn(document))
      if (this.#relations?.has(tuple.relation)) found.push(this.aces.of(tuple))
    return found.sort((a, b) => a - b)
  }

  #ownKey(document: string): string {
    return this.#tuplesOn(document).length > 0 ? document : ''
  }

  #tuplesOn(document: string): readonly Tuple[] {
    const node = this.#tuples.node(document)
    return node === undefined ? [] : tuplesOn(node)
  }

  #leave(document: string, acl: number, renewed: Set<number>): void {
    this.#aclOfPlace.move(this.#placeByDocument.get(document) ?? none, none)
    if (this.#aclOfPlace.first(acl) !== none) return
    this.#numbers.delete(this.#keys[acl] ?? '')
    this.#keys[acl] = undefined
    for (const ace of this.#acesOfAcl[acl] ?? []) this.aces.release(ace)
    this.#acesOfAcl[acl] = []
    this.#freeAcls.push(acl)
    renewed.add(acl)
  }

  #open(key: string, aces: readonly number[], renewed: Set<number>): number {
    const acl = this.#freeAcls.pop() ?? this.#keys.length
    this.#numbers.set(key, acl)
    this.#keys[acl] = key
    // A copy has no room to grow, which takes four times what is there.
    this.#acesOfAcl[acl] = [...aces]
    for (const ace of aces) this.aces.retain(ace)
    renewed.add(acl)
    return acl
  }

  #join(document: string, acl: number): void {
    const place = this.#placeByDocument.get(document) ?? this.#freePlaces.pop() ?? this.#names.length
    this.#placeByDocument.set(document, place)
    this.#names[place] = document
    this.#aclOfPlace.move(place, acl)
  }

  #forget(document: string): void {
    const place = this.#placeByDocument.get(document)
    if (place === undefined) return
    this.#placeByDocument.delete(document)
    this.#names[place] = ''
    this.#freePlaces.push(place)
  }
}

interface AcesOfUser {
  /** Those without an end: a few. */
  readonly standing: number[]
  /**
   * One user may have as many as there are ends: these are found by what they say, not by going through them.
   */
  ending: Map<string, number> | undefined
}

/**
 * Access-control entries: what tuples on documents say without the document, each once, with a number. All
 * documents of a folder share one, and all of an owner's another. An ACL is a set of them. Who reaches an ACL
 * is found ACE by ACE: there are few, and an ACL costs a look at each of its own.
 */
class Aces {
  // By ACE.
  readonly #tuples: (Tuple | undefined)[] = []
  readonly #holders: number[] = []
  readonly #byUser = new Map<string, AcesOfUser>()
  readonly #free: number[] = []
  readonly #idle = new Set<number>()

  /** One more than the largest number. Numbers of ACEs that are gone are given again. */
  get end(): number {
    return this.#tuples.length
  }

  /**
   * The ACE of such a tuple, made where it is new. It lasts while an ACL retains it, and at least until
   * {@link sweep}.
   */
  of(tuple: Tuple): number {
    const ofUser = this.#byUser.get(tuple.user.name) ?? { standing: [], ending: undefined }
    const isSame = (ace: number): boolean => {
      const stored = this.#tuples[ace]
      return stored?.relation === tuple.relation && stored.userRelation === tuple.userRelation
    }
    const storedAce =
      tuple.condition === undefined ? ofUser.standing.find(isSame) : ofUser.ending?.get(endingKey(tuple))
    return storedAce ?? this.#make(tuple, ofUser)
  }

  retain(ace: number): void {
    this.#holders[ace] = (this.#holders[ace] ?? 0) + 1
  }

  release(ace: number): void {
    this.#holders[ace] = (this.#holders[ace] ?? 0) - 1
    if (this.#holders[ace] === 0) this.#idle.add(ace)
  }

  /** Forgets those that nobody holds. */
  sweep(): void {
    for (const ace of this.#idle) if (this.#holders[ace] === 0) this.#forget(ace)
    this.#idle.clear()
  }

  /** A tuple that says it. On which document says nothing, and it may be gone from there. */
  tuple(ace: number): Tuple | undefined {
    return this.#tuples[ace]
  }

  /** Those whose user this is, also as the object of a userset. */
  ofUser(user: string): readonly number[] {
    const { standing: standingAces = [], ending } = this.#byUser.get(user) ?? {}
    return ending === undefined ? standingAces : [...standingAces, ...ending.values()]
  }

  #make(tuple: Tuple, ofUser: AcesOfUser): number {
    const ace = this.#free.pop() ?? this.#tuples.length
    this.#tuples[ace] = tuple
    this.#holders[ace] = 0
    this.#byUser.set(tuple.user.name, ofUser)
    if (tuple.condition === undefined) ofUser.standing.push(ace)
    else {
      ofUser.ending ??= new Map()
      ofUser.ending.set(endingKey(tuple), ace)
    }
    this.#idle.add(ace)
    return ace
  }

  #forget(ace: number): void {
    const tuple = this.#tuples[ace]
    if (tuple === undefined) return
    const { name } = tuple.user
    const { standing: standingAces = [], ending } = this.#byUser.get(name) ?? {}
    if (tuple.condition === undefined) standingAces.splice(standingAces.indexOf(ace), 1)
    else ending?.delete(endingKey(tuple))
    if (standingAces.length === 0 && !ending?.size) this.#byUser.delete(name)
    this.#tuples[ace] = undefined
    this.#free.push(ace)
  }
}

const endingKey = ({ relation, userRelation, condition }: Tuple): string =>
  JSON.stringify([relation, userRelation, condition?.name, condition?.context])
