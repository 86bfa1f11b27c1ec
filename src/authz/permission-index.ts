import type { CheckPart, Model, TupleStore } from '@remit/engine'
import type { Tuple, TupleKey } from './fga.ts'
import type { Question } from './gate/question.ts'

/**
 * A replica of OpenFGA's store in this process, kept in our Postgres and fed from its change log. It nominates,
 * evaluates ahead and explains. It never decides: a release needs OpenFGA's own yes.
 */
export interface PermissionIndex extends AsyncDisposable {
  status(): IndexStatus
  /** What can be evaluated now; undefined while it is not ready. Use it before the next `await`: it changes in place. */
  view(): ReplicaView | undefined
  /**
   * Documents worth asking about: those that the model in full allows on the tuples seen, exclusions and conditions at
   * `now` included, and those of which it cannot tell. undefined while the index is not ready.
   */
  nominate(question: LocalQuestion): readonly string[] | undefined
  /**
   * The same as doors, kept up from now on: a document that comes to a door or moves to another needs no new question.
   * undefined while the index is not ready, and where the question brings tuples on documents: ask `nominate`.
   */
  reachableAcls(question: LocalQuestion): ReachableAcls | undefined
  /** The door at which a document stands, see docs/decisions/0021-doors-and-plans.md. -1: at none. Any number says nothing while it is not ready. */
  aclOf(documentId: string): number
  /** Called with the ids of documents that stand at another door now; without any, when all may. Must not throw. */
  onAclChange(listener: (documentIds?: readonly string[]) => void): void
  /**
   * The full model on the replica, exclusions and conditions at `now` included. Absent from the map: it could not
   * be evaluated, or the model has no such relation. undefined while the index is not ready. A denial is a hint,
   * an allowance decides nothing.
   */
  evaluate(
    question: LocalQuestion,
    ids: readonly string[],
    now: number,
  ): ReadonlyMap<string, LocalVerdict> | undefined
  /**
   * Smaller questions by whose answers OpenFGA's yes to each document follows, under the model of `view`: see
   * `createDecomposeCheck` of the engine. Absent from the map: not a yes here, or nothing would be spared. Empty while it is not ready.
   */
  decompose(
    question: Question,
    documentIds: readonly string[],
    now: number,
  ): ReadonlyMap<string, readonly CheckPart[]>
  /**
   * Those of the documents that a change since `since` (milliseconds) may have taken away from somebody: a tuple
   * was removed, or one was added that excludes, on something that they lead to. All, when it cannot tell.
   */
  touched(documentIds: readonly string[], since: number): ReadonlySet<string>
  /**
   * Counts what a write of this process may have taken away as seen, before the log tells of it: near its end the
   * log may have passed that change already, since it is stamped before it is committed. Gives the objects of those
   * tuples; of every tuple, while there is no model to tell which of them take away.
   */
  wrote(change: WrittenChange): readonly string[]
  /** Whether it has what such a write left: false also while it is not ready. */
  holds(change: WrittenChange): boolean
  /** Those of the documents from which tuples lead to one of the objects. All, while it is not ready. */
  leadingTo(documentIds: readonly string[], objects: ReadonlySet<string>): ReadonlySet<string>
  /**
   * Watches what the log tells from now on. Gives what to call when something was asked of OpenFGA meanwhile: those of the
   * documents that lead to an object of a tuple that came or went between the two calls, by a read of the log that began at the
   * second one. All, when it cannot tell.
   */
  watch(): (
    documentIds: readonly string[],
    options?: { readonly signal?: AbortSignal },
  ) => Promise<ReadonlySet<string>>
  /** Resolves when everything that OpenFGA held when this was called is in. Rejects when it cannot be had. */
  catchUp(options?: { readonly signal?: AbortSignal }): Promise<void>
}

/** Who was asked about reaches these doors. */
export interface ReachableAcls {
  /** One for each user with what they present and ask. */
  readonly key: string
  /** It is kept up no longer, and what it says may be wrong. */
  readonly isOver: boolean
  has(door: number): boolean
  /** All doors that it opens, ascending; how many there are. */
  acls(): Iterable<number>
  count(): number
}

export type { CheckPart }

export interface WrittenChange {
  readonly writes?: readonly Tuple[]
  readonly deletes?: readonly TupleKey[]
}

/** Any relation: the gate also asks which documents are `sensitive`, because their verdicts are never held. */
export type LocalQuestion = Pick<Question, 'contextual'> & {
  readonly user: string
  readonly relation: string
  /** Of the objects; documents, where left out. */
  readonly type?: string
}

export interface ReplicaView {
  readonly modelId: string
  readonly model: Model
  readonly tuples: TupleStore
}

export interface LocalVerdict {
  readonly allowed: boolean
  /** Milliseconds since the epoch: the earliest end among the expiring tuples that were met. */
  readonly until?: number
}

export interface IndexStatus {
  /** `following`: all of the log was read at least once. `broken`: it cannot be read; what is in may be old. */
  readonly state: 'building' | 'following' | 'broken'
  /** All that OpenFGA held at this time is in; undefined where nothing shows it, as before the log was read to its end. */
  readonly tailReadAt: number | undefined
  /** Milliseconds since then: an upper bound for how far it is behind. */
  readonly lagMs: number
  readonly tuples: number
}
