import { EmbeddingError } from '../embed/embedder.ts'
import { AppError } from '../kernel/errors.ts'
import { NotFound } from '../retrieval/chunk-index/port.ts'
import { ThreadError } from './parse/parsed.ts'

/** Which tasks fail again and again, so that one that never can succeed comes to an end. */
export interface Failures {
  /** Notes why a task failed; true once it is hopeless. */
  failed(task: string, error: unknown): boolean
  /** The task is over. */
  ended(task: string): void
  /** A document went in: what fails meanwhile does not fail with everything. */
  published(): void
}

const timesMax = 10
// Of tasks that fail at the same time: what is forgotten is counted anew.
const rememberedMax = 10_000

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
  let published = 0
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
    ended: (task) => void failing.delete(task),
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

/**
 * Whether each document meets it by itself, and none is at fault: the model is away, or no thread can start.
 * Then nothing that goes in together keeps another out. What is done to several at once is none of these.
 */
export const isOutage = (error: unknown): boolean =>
  (error instanceof EmbeddingError || error instanceof ThreadError) && reasonOf(error) === undefined

// The model may mean this very passage.
const ofPassage: ReadonlySet<EmbeddingError['code']> = new Set(['wrong_answer', 'refused'])

// SQLSTATE classes of a transaction that ran into another one, of a lock, of the server's own trouble.
const transient = /^(?:25|40|55|57|58)/
// Of values that Postgres does not take, and of what is larger than it can hold.
const ofData = /^(?:22|54)/

const isOfData = (error: unknown): boolean => error instanceof Error && ofData.test(codeOf(error))

const codeOf = (error: Error): string => ('code' in error && typeof error.code === 'string' ? error.code : '')
