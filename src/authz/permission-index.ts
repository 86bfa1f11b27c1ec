import type { CheckPart, Model, TupleStore } from '@remit/engine'
import type { Tuple, TupleKey } from './fga.ts'
import type { Question } from './gate/question.ts'

/** Says how far the replica is, and shows it. */
export interface LocalReplica {
  status(): IndexStatus
  /**
   * What can be evaluated now; undefined while it is not ready. Use it before the next `await`: it changes in
   * place.
   */
  view(): ReplicaView | undefined
}

/** Says which documents are worth asking OpenFGA about. A nomination is a hint and decides nothing. */
export interface DocumentNominator {
  /**
   * The documents that the full model allows on the tuples seen, exclusions and conditions at `now` included,
   * and those that it cannot evaluate. undefined while the index is not ready.
   */
  nominate(question: LocalQuestion): readonly string[] | undefined
  /**
   * The same as ACLs, kept up from now on: a document that gets an ACL, or another one, needs no new
   * question. undefined while the index is not ready, and where the question brings tuples on documents: ask
   * `nominate`.
   */
  reachableAcls(question: LocalQuestion): ReachableAcls | undefined
  /**
   * Number of the document's ACL, see docs/decisions/0021-acls-and-strategies.md. -1: it has none. No number
   * means anything while the index is not ready.
   */
  aclOf(documentId: string): number
  /** Called with the ids of documents whose ACL changed; without any, when all may have. Must not throw. */
  onAclChange(listener: (documentIds?: readonly string[]) => void): void
}

/** Evaluates ahead of OpenFGA. A denial is a hint, an allowance decides nothing. */
export interface LocalChecks {
  /**
   * The full model on the replica, exclusions and conditions at `now` (milliseconds) included. Absent from
   * the map: it could not be evaluated, or the model has no such relation. undefined while the index is not
   * ready.
   */
  evaluate(
    question: LocalQuestion,
    ids: readonly string[],
    now: number,
  ): ReadonlyMap<string, LocalVerdict> | undefined
  /**
   * Smaller questions by whose answers OpenFGA's yes to each document follows, under the model of `view`: see
   * `createDecomposeCheck` of the engine. Absent from the map: not a yes here, or nothing would be spared.
   * Empty while the index is not ready.
   */
  decompose(
    question: Question,
    documentIds: readonly string[],
    now: number,
  ): ReadonlyMap<string, readonly CheckPart[]>
}

/**
 * Says which documents a change may have taken away from somebody. Where it cannot tell, it names all of
 * them.
 */
export interface RemovalWatch {
  /**
   * Those of the documents that a change since `since` (milliseconds) may have taken away from somebody: a
   * tuple was removed, or one was added that excludes, on something that they lead to. All, when it cannot
   * tell.
   */
  touched(documentIds: readonly string[], since: number): ReadonlySet<string>
  /** Those of the documents from which tuples lead to one of the objects. All, while it is not ready. */
  leadingTo(documentIds: readonly string[], objects: ReadonlySet<string>): ReadonlySet<string>
  /**
   * Watches what the log tells from now on. Call the result when OpenFGA has answered meanwhile. It gives
   * those of the documents that lead to an object of a tuple that came or went between the two calls, by a
   * read of the log that began at the second one. All, when it cannot tell.
   */
  watch(): (
    documentIds: readonly string[],
    options?: { readonly signal?: AbortSignal },
  ) => Promise<ReadonlySet<string>>
}

/** Takes note of what this process writes, before the log tells of it. */
export interface OwnWrites {
  /**
   * Counts what a write of this process may have taken away as seen. Near its end the log may have passed
   * that change already, since it is stamped before it is committed. Gives the objects of those tuples; of
   * every tuple, while there is no model to tell which of them take away.
   */
  wrote(change: WrittenChange): readonly string[]
  /** Whether it has what such a write left: false also while it is not ready. */
  holds(change: WrittenChange): boolean
}

/** Waits for OpenFGA's log. */
export interface LogFollower {
  /** Resolves when everything that OpenFGA held when this was called is in. Rejects when it cannot be had. */
  catchUp(options?: { readonly signal?: AbortSignal }): Promise<void>
  /**
   * Reads the log's last second again. For what is missing after `catchUp`: a change may be committed after
   * others that are numbered after it, so that it comes before what was read. Does nothing where nothing is
   * kept, and behind a server that may lag, unless that is no matter (`mayLag`): there a writer's own change
   * is not missing because it came late.
   */
  lookBack(options?: { readonly signal?: AbortSignal; readonly mayLag?: boolean }): Promise<void>
}

/**
 * A replica of OpenFGA's store in this process, kept in our Postgres and fed from its change log. It
 * nominates, evaluates ahead and explains. It never decides: a release needs OpenFGA's own yes. One object;
 * take of it the smallest type that you need.
 */
export interface PermissionIndex
  extends LocalReplica,
    DocumentNominator,
    LocalChecks,
    RemovalWatch,
    OwnWrites,
    LogFollower,
    AsyncDisposable {}

/** The ACLs by which somebody reaches documents, kept up while the tuples change. */
export interface ReachableAcls {
  /** The same for the same user, presented tuples and relation. */
  readonly key: string
  /** It is kept up no longer, and what it says may be wrong. */
  readonly isOver: boolean
  has(acl: number): boolean
  /** Their numbers, ascending. */
  acls(): Iterable<number>
  /** How many they are. */
  count(): number
}

export type { CheckPart }

/** A write to OpenFGA, as the index needs it. */
export interface WrittenChange {
  readonly writes?: readonly Tuple[]
  readonly deletes?: readonly TupleKey[]
}

/**
 * Any relation: the gate also asks which documents are `sensitive`, because their verdicts are never cached.
 */
export type LocalQuestion = Pick<Question, 'contextual'> & {
  readonly user: string
  readonly relation: string
  /** Of the objects; documents, where left out. */
  readonly type?: string
}

/** The model and tuples that the replica evaluates; changes in place. */
export interface ReplicaView {
  readonly modelId: string
  readonly model: Model
  readonly tuples: TupleStore
}

/** What the replica answers for one object. */
export interface LocalVerdict {
  readonly allowed: boolean
  /** Milliseconds since the epoch: the earliest end among the expiring tuples that were met. */
  readonly until?: number
}

/** How far the replica is behind OpenFGA. */
export interface IndexStatus {
  /**
   * `following`: all of the log was read at least once. `broken`: it cannot be read; what is in may be old.
   */
  readonly state: 'building' | 'following' | 'broken'
  /**
   * All that OpenFGA held at this time is in; undefined where nothing shows it, as before the log was read to
   * its end.
   */
  readonly tailReadAt: number | undefined
  /** Milliseconds since then by the clock that says more: an upper bound for how far it is behind. */
  readonly lagMs: number
  readonly tuples: number
}
