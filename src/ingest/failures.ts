import { WriteRefused } from '../authz/fga.ts'
import { EmbeddingError } from '../embed/embedder.ts'
import { AppError } from '../kernel/errors.ts'
import { reasonOf as reasonText } from '../kernel/reason.ts'
import { NotFound } from '../retrieval/chunk-index/port.ts'
import { Lost } from './hold.ts'
import { StayedLocked } from './locks.ts'
import { ThreadError } from './parse/parsed.ts'

/** Which tasks fail again and again, so that one that never can succeed comes to an end. */
export interface Failures {
  /** Notes why a task failed; true once it is hopeless. */
  failed(task: string, error: unknown): boolean
  /**
   * Whether what kept these tasks out is an outage of what all share, the database or OpenFGA, by all that is
   * known: then none of them is at fault. No longer once they failed so three times and other documents went
   * in each time: one of them may be what makes it fail. What an outage left locked, since a Write may still
   * come, is part of it six times: by then the lease is over.
   */
  isShared(tasks: readonly string[], error: unknown): boolean
  /** The task is over. */
  ended(task: string): void
  /** A document went in: what fails meanwhile does not fail with everything. */
  published(): void
}

const timesMax = 10
const sharedTimesMax = 3
const lockedTimesMax = 6
// Of tasks that fail at the same time: what is forgotten is counted anew.
const rememberedMax = 10_000

interface Shared {
  /** Outages of which each began after others had gone in since the one before. */
  readonly times: number
  readonly lockedTimes: number
  readonly publishedBefore: number
}

interface Failing {
  readonly reason: string
  readonly times: number
  /** How many documents had gone in when it failed first. */
  readonly publishedBefore: number
}

/**
 * A task is hopeless when it failed ten times in a row for the same reason, unless that may be everybody's:
 * whatever cannot be reached now never counts, and a reason that does not lie in the data counts only while
 * other documents go in. An outage, or a mistake of ours, must lose nothing. Kept in memory: a start counts
 * anew.
 */
export function createFailures(): Failures {
  const failing = new Map<string, Failing>()
  const sharedByTask = new Map<string, Shared>()
  let published = 0
  /** Whether it is believed of this task alone. */
  const isSharedBy = (task: string): boolean => {
    const previous = sharedByTask.get(task)
    const isAgain = previous !== undefined && published > previous.publishedBefore
    const times = (previous?.times ?? 0) + (isAgain ? 1 : 0)
    if (previous === undefined && sharedByTask.size >= rememberedMax) sharedByTask.clear()
    sharedByTask.set(task, { times, lockedTimes: 0, publishedBefore: published })
    return times < sharedTimesMax
  }
  /** Whether it may be locked by what an outage left of an earlier try. */
  const isLeftLocked = (task: string): boolean => {
    const previous = sharedByTask.get(task)
    if (previous === undefined) return false
    const lockedTimes = previous.lockedTimes + 1
    sharedByTask.set(task, { ...previous, lockedTimes })
    return previous.times < sharedTimesMax && lockedTimes <= lockedTimesMax
  }
  return {
    failed(task, error) {
      const reason = reasonOf(error)
      if (reason === undefined) return false
      const previousFailure = failing.get(task)
      const failure: Failing =
        previousFailure?.reason === reason
          ? { ...previousFailure, times: previousFailure.times + 1 }
          : { reason, times: 1, publishedBefore: published }
      if (!failing.has(task) && failing.size >= rememberedMax) failing.clear()
      failing.set(task, failure)
      return failure.times >= timesMax && (isOfData(error) || published > failure.publishedBefore)
    },
    isShared(tasks, error) {
      if (isOfAll(error)) return tasks.map(isSharedBy).every(Boolean)
      return isOfLock(error) && tasks.map(isLeftLocked).every(Boolean)
    },
    ended(task) {
      failing.delete(task)
      sharedByTask.delete(task)
    },
    published: () => void published++,
  }
}

/**
 * Undefined for what says nothing of the document: a store, a model, a lock, a thread, an index that lacks it
 * now.
 */
export function reasonOf(error: unknown): string | undefined {
  if (error instanceof AppError) return error.code === 'internal_error' ? error.code : undefined
  if (error instanceof EmbeddingError) return ofPassage.has(error.code) ? error.code : undefined
  if (error instanceof ThreadError || error instanceof NotFound) return undefined
  if (!(error instanceof Error)) return 'thrown value'
  const code = codeOf(error)
  return transient.test(code) ? undefined : `${error.name} ${code}`.trim()
}

/** What is thrown for tasks that an outage kept out, as {@link Failures.isShared} says. */
export class SharedOutage extends Error {
  constructor(cause: unknown) {
    super(reasonText(cause), { cause })
    this.name = 'SharedOutage'
  }
}

/**
 * Whether none of the documents is at fault, and they may go together again: the model is away, or no thread
 * can start, which each meets by itself; or it was found to be a {@link SharedOutage}.
 */
export const isOutage = (error: unknown): boolean =>
  error instanceof SharedOutage ||
  ((error instanceof EmbeddingError || error instanceof ThreadError) && reasonOf(error) === undefined)

/** The database or OpenFGA does not answer. A document that another holds, or a refused Write, is neither. */
const isOfAll = (error: unknown): boolean =>
  error instanceof AppError &&
  (error.code === 'storage_unavailable' || error.code === 'authorization_unavailable') &&
  !(isOfLock(error) || error.cause instanceof WriteRefused)

const isOfLock = (error: unknown): boolean => error instanceof Lost || error instanceof StayedLocked

// The model may mean this very passage.
const ofPassage: ReadonlySet<EmbeddingError['code']> = new Set(['wrong_answer', 'refused'])

// SQLSTATE classes of a transaction that ran into another one, of a lock, of the server's own trouble.
const transient = /^(?:25|40|55|57|58)/
// Of values that Postgres does not take, and of what is larger than it can hold.
const ofData = /^(?:22|54)/

const isOfData = (error: unknown): boolean => error instanceof Error && ofData.test(codeOf(error))

const codeOf = (error: Error): string => ('code' in error && typeof error.code === 'string' ? error.code : '')
