import type { DocumentAccess, Writer } from '@remit/client'
import { isId } from '@remit/contract/is-id'
import type { Stored } from './compare.ts'
import { endsSync, problemOf } from './failure.ts'
import { groupBy } from './group-by.ts'
import { notAnId } from './ids.ts'
import type { Journal } from './journal.ts'
import { groupOf, People } from './people.ts'
import { Places } from './places.ts'
import { deniedBy } from './remembered.ts'
import type { Directory, SourceAccess, SourceGroup } from './source.ts'
import {
  groupIn,
  isMember,
  isParent,
  isReading,
  type Parsed,
  parsed,
  partsOf,
  type Texts,
  textsOf,
  tupleOf,
} from './tuple-texts.ts'

/** What a sync did to memberships, folders and zones, in tuples. */
export interface DirectoryReport {
  readonly written: number
  readonly deleted: number
  /** Tuples that could not be written, or are there and could not be deleted, and why. */
  readonly failed: readonly { readonly tuple: string; readonly problem: string }[]
  /** Accounts by the source's id that are a group's members and nobody in Remit. */
  readonly unmapped: readonly string[]
  /**
   * Groups, folders and zones that Remit cannot say exactly, and why. What lies below, or names the group,
   * is hidden.
   */
  readonly closed: readonly { readonly place: string; readonly problem: string }[]
}

/** What `DirectorySync` needs. `onProgress` gets the count of tuples so far. */
export interface DirectoryDeps {
  readonly writer: Writer
  readonly journal: Journal
  /** The tuples on an object at Remit, where that can be asked. */
  readonly stored: Stored['on'] | undefined
  readonly signal: AbortSignal | undefined
  readonly onProgress: (doneCount: number) => void
}

/**
 * Whom an item's access lets read in Remit; `later`: once the folders above it lie where they do in the
 * source; `hidden`: nobody, since it cannot be said.
 */
export type ItemAccess =
  | { readonly kind: 'said' | 'later'; readonly access: DocumentAccess }
  | { readonly kind: 'hidden'; readonly problem: string }

// One Write of OpenFGA takes 100, and the service adds one of its own.
const tuplesMax = 99

/**
 * Brings memberships, folders and zones to what the source says, in two halves with the items between them:
 * {@link narrow} takes access away, {@link finish} moves folders and gives it. So an item that is about to
 * leave a folder is never read by those whom the folder is about to let in.
 */
export class DirectorySync {
  readonly #people: People
  readonly #places: Places
  readonly #deps: DirectoryDeps
  readonly #wanted: readonly string[]
  readonly #unmapped: readonly string[]
  /** Groups whose id is none in Remit: they have no members there, and are nobody's. */
  readonly #closedGroups: ReadonlyMap<string, string>
  /** Groups by which somebody is denied: more members let fewer read. */
  readonly #denying: ReadonlySet<string>
  /** Folders and zones that are filed now: nothing lies below them yet. */
  readonly #new: ReadonlySet<string>
  /** Tuples that may have been there before this sync sent anything. */
  readonly #known: ReadonlySet<string>
  /** Folders and zones below which nothing is brought before {@link finish}. */
  #late: ReadonlySet<string> = new Set()
  /** Groups that lack members until then, or have some that are to leave. */
  #growing: ReadonlySet<string> = new Set()
  #shrinking: ReadonlySet<string> = new Set()
  readonly #failed: { readonly tuple: string; readonly problem: string }[] = []
  #isFinished = false
  #done = 0
  #written = 0
  #deleted = 0

  constructor(directory: Directory, dependencies: DirectoryDeps) {
    this.#deps = dependencies
    this.#known = new Set(dependencies.journal.memory.tuples.keys())
    this.#people = new People(directory)
    this.#closedGroups = new Map(unsayableGroups(directory.groups).map((id) => [id, notAnId(id)]))
    for (const [id, problem] of this.#closedGroups) this.#people.inexact(id, 'write', problem)
    this.#places = new Places(directory, this.#people)
    this.#unmapped = directory.groups.flatMap(({ members }) =>
      members.flatMap((member) =>
        'account' in member && this.#people.subjectOf(member.account) === undefined ? [member.account] : [],
      ),
    )
    this.#wanted = [...new Set([...this.#memberships(directory.groups), ...this.#places.tuples()])]
    this.#denying = this.#deniedGroups(directory.groups)
    this.#new = new Set(
      this.#missing(({ relation }) => relation === 'filed_in')
        // What was there before and is lost, or is not known to be there, may have something below.
        .filter((tuple) => !dependencies.journal.memory.tuples.has(tuple))
        .map((tuple) => parsed(tuple).object),
    )
  }

  get report(): DirectoryReport {
    return {
      written: this.#written,
      deleted: this.#deleted,
      failed: this.#failed,
      unmapped: [...new Set(this.#unmapped)],
      closed: [
        ...[...this.#closedGroups].map(([id, problem]) => ({ place: `group:${id}`, problem })),
        ...[...this.#places.closed].map(([place, problem]) => ({ place, problem })),
      ],
    }
  }

  /** What an item's access comes to as things stand. */
  accessOf(access: SourceAccess): ItemAccess {
    const problem = this.#places.problemOf(access.parents)
    if (problem !== undefined) return { kind: 'hidden', problem }
    const said = this.#people.access(access)
    if (!said.ok) return { kind: 'hidden', problem: said.problem }
    return { kind: this.#isLater(access, said.value) ? 'later' : 'said', access: said.value }
  }

  /** Whether it would be read by somebody, or not denied to somebody, who is about to leave or to come. */
  #isLater({ parents = [] }: SourceAccess, { viewers = [], blocked = [] }: DocumentAccess): boolean {
    if (this.#isFinished) return false
    const names = viewers.map((viewer) => (typeof viewer === 'string' ? viewer : viewer.user))
    return (
      [...this.#places.above(parents)].some((place) => this.#late.has(place)) ||
      this.#people.groupsIn(names).some((group) => this.#shrinking.has(group)) ||
      this.#people.groupsIn(blocked).some((group) => this.#growing.has(group))
    )
  }

  /** What takes access away, and what is new and empty. Nobody reads more afterwards. */
  async narrow(): Promise<void> {
    const isNew = (tuple: Parsed): boolean => tuple.relation === 'parent' && this.#isNew(tuple.text)
    const parentsOfNew = this.#missing(isNew)
    await this.#change({ writes: this.#missing(({ relation }) => relation === 'filed_in') })
    await this.#change({ writes: parentsOfNew })
    await this.#change({ writes: this.#missing(({ relation }) => relation === 'blocked') })
    await this.#change({
      deletes: this.#obsolete(
        (tuple) => isReading(tuple) || (isMember(tuple) && !this.#isDenyingMember(tuple)),
      ),
    })
    this.#growing = new Set(this.#missing(isMember).map(groupIn))
    this.#shrinking = new Set(this.#obsolete(isMember).map(groupIn))
    this.#late = new Set([
      ...this.#moving(),
      ...this.#places.lettingBy(this.#shrinking),
      ...this.#places.denyingBy(this.#growing),
    ])
    this.#places.closeInexact()
  }

  /**
   * Moves folders, changes who is in groups that deny, then gives access; the audience of a zone last.
   * `hideLate` hides the items that come {@link ItemAccess later}: called where those moves do not go in one
   * request.
   */
  async finish(hideLate: () => Promise<void>): Promise<void> {
    await this.#changeBoth(hideLate)
    await this.#change({ writes: this.#missing(isMember) })
    await this.#change({
      writes: this.#missing((tuple) => isReading(tuple) && tuple.relation !== 'audience'),
    })
    await this.#change({ deletes: this.#obsolete(({ relation }) => relation === 'blocked') })
    await this.#change({ writes: this.#missing(({ relation }) => relation === 'audience') })
    this.#places.closeInexact()
    this.#isFinished = true
  }

  /**
   * What lets read as well as denies: at once where it fits. Between two of them somebody could be let read
   * who is neither before nor after.
   */
  async #changeBoth(hideLate: () => Promise<void>): Promise<void> {
    const isBoth = (tuple: Parsed): boolean => isParent(tuple) || this.#isDenyingMember(tuple)
    const change = { writes: this.#missing(isBoth), deletes: this.#obsolete(isBoth) }
    const count = change.writes.length + change.deletes.length
    if (count === 0 || (count <= tuplesMax && (await this.#send(change)) === undefined)) return
    await hideLate()
    for (const part of partsOf(change)) await this.#change(part)
  }

  /** Folders that were there and change their parents. */
  #moving(): readonly string[] {
    const parents = [...this.#missing(isParent), ...this.#obsolete(isParent)]
    return parents.filter((tuple) => !this.#isNew(tuple)).map((tuple) => parsed(tuple).object)
  }

  /** What is to be there and is not known to be. Of a closed place no reader. */
  #missing(is: (tuple: Parsed) => boolean): readonly string[] {
    const { memory } = this.#deps.journal
    const failed = new Set(this.#failed.map(({ tuple }) => tuple))
    return this.#wanted.filter((tuple) => {
      const read = parsed(tuple)
      return (
        memory.tuples.get(tuple) !== true &&
        !failed.has(tuple) &&
        is(read) &&
        !(isReading(read) && this.#places.closed.has(read.object))
      )
    })
  }

  /** What may be there and is not to be. A place is filed once and for ever. */
  #obsolete(is: (tuple: Parsed) => boolean): readonly string[] {
    const wanted = new Set(this.#wanted)
    return [...this.#deps.journal.memory.tuples.keys()].filter((tuple) => {
      const read = parsed(tuple)
      return !wanted.has(tuple) && read.relation !== 'filed_in' && is(read)
    })
  }

  /** Whether it is a parent of a folder that was not there before: nothing lies below it yet. */
  #isNew(tuple: string): boolean {
    return this.#new.has(parsed(tuple).object)
  }

  #isDenyingMember(tuple: Parsed): boolean {
    return isMember(tuple) && this.#denying.has(tuple.object)
  }

  /**
   * By whose members somebody is denied, or was: by a folder, a zone or an item, also through other groups.
   */
  #deniedGroups(groups: readonly SourceGroup[]): ReadonlySet<string> {
    const { tuples, accesses } = this.#deps.journal.memory
    const stored = [...tuples.keys()].map(parsed)
    const inside = groupBy(
      [
        ...groups.flatMap(({ id, members }) =>
          members.flatMap((member) =>
            'group' in member ? [{ outer: `group:${id}`, inner: member.group }] : [],
          ),
        ),
        ...stored.filter(isMember).flatMap(({ user, object }) => {
          const inner = groupOf(user)
          return inner === undefined ? [] : [{ outer: object, inner }]
        }),
      ],
      ({ outer }) => outer,
    )
    const subjects = [
      ...this.#places.denied(),
      ...stored.flatMap(({ user, relation }) => (relation === 'blocked' ? [user] : [])),
      ...[...accesses.values()].flatMap((entry) => deniedBy(entry)),
    ]
    const found = new Set(subjects.flatMap((subject) => groupOf(subject) ?? []).map((id) => `group:${id}`))
    for (const group of found) for (const { inner } of inside.get(group) ?? []) found.add(`group:${inner}`)
    return found
  }

  *#memberships(groups: readonly SourceGroup[]): Generator<string> {
    for (const { id, members } of groups) {
      if (this.#closedGroups.has(id)) continue
      for (const member of members) {
        if ('group' in member && this.#closedGroups.has(member.group)) continue
        const subject =
          'group' in member ? `group:${member.group}#member` : this.#people.subjectOf(member.account)
        if (subject !== undefined) yield `${subject} member group:${id}`
      }
    }
  }

  async #change({ writes = [], deletes = [] }: Texts): Promise<void> {
    const all = [
      ...deletes.map((tuple) => ({ tuple, isWrite: false })),
      ...writes.map((tuple) => ({ tuple, isWrite: true })),
    ]
    for (let offset = 0; offset < all.length; offset += tuplesMax) {
      const page = all.slice(offset, offset + tuplesMax)
      await this.#changePage(textsOf(page))
    }
  }

  /** In one request; object by object where that is refused, then one by one, so that the others go on. */
  async #changePage(change: Texts): Promise<void> {
    const problem = await this.#send(change)
    if (problem === undefined) return
    const parts = partsOf(change)
    if (parts.length > 1) for (const part of parts) await this.#changePage(part)
    else await this.#refused(change, problem)
  }

  /** Why it is refused, if it is. */
  async #send({ writes = [], deletes = [] }: Texts): Promise<string | undefined> {
    const { writer, journal, signal, onProgress } = this.#deps
    // Before it is changed: of what a process that ends meanwhile wrote or deleted nothing is taken for
    // granted.
    await journal.write({ tuplesBegun: [...writes, ...deletes] })
    try {
      await writer.changeAccess(
        {
          ...(writes.length > 0 && { writes: writes.map(tupleOf) }),
          ...(deletes.length > 0 && { deletes: deletes.map(tupleOf) }),
        },
        { signal },
      )
    } catch (error) {
      if (endsSync(error, signal)) throw error
      return problemOf(error)
    }
    await journal.write({
      ...(writes.length > 0 && { tuplesSettled: writes }),
      ...(deletes.length > 0 && { tuplesForgotten: deletes }),
    })
    this.#written += writes.length
    this.#deleted += deletes.length
    this.#done += writes.length + deletes.length
    onProgress(this.#done)
    return undefined
  }

  /** What could let somebody read whom the source does not closes what it stands on. */
  async #refused({ writes = [], deletes = [] }: Texts, problem: string): Promise<void> {
    for (const [operation, tuples] of [
      ['write', writes],
      ['delete', deletes],
    ] as const)
      for (const tuple of tuples) {
        // Else each later sync would have it deleted, which is refused as well.
        const isThere = await this.#isStored(tuple)
        if (!isThere) await this.#deps.journal.write({ tuplesForgotten: [tuple] })
        if (!isThere && operation === 'delete') continue
        this.#failed.push({ tuple, problem })
        const { relation, object } = parsed(tuple)
        if (relation === 'member') this.#people.inexact(object.slice('group:'.length), operation, problem)
        else if (operation === (isReading(parsed(tuple)) ? 'delete' : 'write') || relation === 'parent')
          this.#places.close(
            object,
            `${tuple} could not be ${operation === 'write' ? 'written' : 'deleted'}: ${problem}`,
          )
      }
  }

  /** Whether a tuple whose change was refused is there. A refusal leaves everything as it was. */
  async #isStored(tuple: string): Promise<boolean> {
    const { stored } = this.#deps
    return stored === undefined
      ? this.#known.has(tuple)
      : (await stored(parsed(tuple).object)).includes(tuple)
  }
}

/** By their ids, and those that are in one of them. */
const unsayableGroups = (groups: readonly SourceGroup[]): readonly string[] =>
  groups
    .flatMap(({ id, members }) => [
      id,
      ...members.flatMap((member) => ('group' in member ? [member.group] : [])),
    ])
    .filter((id) => !isId(id))
