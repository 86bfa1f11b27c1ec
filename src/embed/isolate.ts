import type { Outcome } from './batch-queue.ts'
import { EmbeddingError, normalize } from './embedder.ts'

/** A call that brought no vectors. */
export class CallFailure extends Error {
  /** What its caller is told. */
  readonly reason: EmbeddingError
  /** Another try may do: the endpoint was away, or had too much to do. */
  readonly passes: boolean
  /** Whether one of its texts, or their number, may be at fault. `known`: alone it surely is. */
  readonly isOfTexts: 'no' | 'perhaps' | 'known'
  /** What the endpoint asked for. */
  readonly retryAfterMs: number | undefined

  constructor(
    reason: EmbeddingError,
    about: Pick<CallFailure, 'passes' | 'isOfTexts'> & { readonly retryAfterMs?: number },
  ) {
    super(reason.message, { cause: reason })
    this.name = 'CallFailure'
    this.reason = reason
    this.passes = about.passes
    this.isOfTexts = about.isOfTexts
    this.retryAfterMs = about.retryAfterMs
  }
}

/** Calls of an isolation. All but `isWell` reject with {@link CallFailure} where a call failed. */
export interface IsolateCalls {
  /** With all its tries. */
  readonly ask: (texts: readonly string[]) => Promise<readonly Outcome[]>
  readonly askOnce: (texts: readonly string[]) => Promise<readonly Outcome[]>
  /** Whether the endpoint takes a text that nobody can object to. */
  readonly isWell: () => Promise<boolean>
  /** Told where a batch was not taken, and both its halves of so many inputs were. */
  readonly tooMany: (count: number) => void
}

/**
 * Vectors of a batch. A text that the endpoint does not take costs its own vector, never those of the
 * others: where the endpoint is well otherwise, the batch is cut in halves until that text stands alone. That
 * takes at most as many calls as the batch has texts; what is not known by then is `unavailable`, and goes
 * again in other company. Rejects where the endpoint takes nothing.
 */
export async function isolate(texts: readonly string[], calls: IsolateCalls): Promise<readonly Outcome[]> {
  try {
    return await calls.ask(texts)
  } catch (error) {
    if (!(error instanceof CallFailure)) throw error
    if (error.isOfTexts === 'no' || !(await calls.isWell())) throw error.reason
    if (texts.length === 1) return [alone(error)]
    return halves(texts, calls, { calls: texts.length })
  }
}

interface Left {
  calls: number
}

async function halves(texts: readonly string[], calls: IsolateCalls, budget: Left): Promise<Outcome[]> {
  const middle = texts.length >> 1
  const first = await part(texts.slice(0, middle), calls, budget)
  const second = await part(texts.slice(middle), calls, budget)
  if (first.isTaken && second.isTaken) calls.tooMany(middle)
  return [...first.outcomes, ...second.outcomes]
}

interface Part {
  readonly outcomes: readonly Outcome[]
  /** In one call. */
  readonly isTaken: boolean
}

async function part(texts: readonly string[], calls: IsolateCalls, budget: Left): Promise<Part> {
  if (budget.calls <= 0) return { outcomes: texts.map(notKnown), isTaken: false }
  budget.calls--
  try {
    return { outcomes: await calls.askOnce(texts), isTaken: true }
  } catch (error) {
    if (!(error instanceof CallFailure)) throw error
    // It was well a moment ago, and is away now.
    if (error.isOfTexts === 'no') budget.calls = 0
    else if (texts.length > 1) return { outcomes: await halves(texts, calls, budget), isTaken: false }
    return { outcomes: texts.map(() => alone(error)), isTaken: false }
  }
}

const alone = ({ reason, isOfTexts }: CallFailure): EmbeddingError =>
  isOfTexts === 'known' && reason.code === 'unavailable'
    ? new EmbeddingError('refused', 'The embedding endpoint takes other passages, and not this one.', reason)
    : reason

const notKnown = (): EmbeddingError =>
  new EmbeddingError('unavailable', 'The embedding endpoint refuses many passages at once.')

/**
 * The vectors of an answer, each of length 1, in the order of the inputs. Numbers that make no vector are
 * that input's error. Throws `wrong_answer` where count, sizes or places are not those of the inputs: then
 * nothing says whose they are.
 */
export function readVectors(answer: unknown, count: number, dimensions: number): Outcome[] {
  const entries = typeof answer === 'object' && answer !== null && 'data' in answer ? answer.data : undefined
  if (!Array.isArray(entries) || entries.length !== count)
    throw new EmbeddingError('wrong_answer', `The endpoint did not answer ${count} vectors.`)
  const outcomes: (Outcome | undefined)[] = new Array(count).fill(undefined)
  for (const [position, entry] of entries.entries())
    outcomes[indexOf(entry, position)] = readVector(entry, dimensions)
  return outcomes.map((outcome) => {
    if (outcome === undefined)
      throw new EmbeddingError('wrong_answer', 'The endpoint answered one vector twice.')
    return outcome
  })
}

/** Answers may come in another order than the question, each with its `index`. */
function indexOf(entry: unknown, position: number): number {
  const index = typeof entry === 'object' && entry !== null && 'index' in entry ? entry.index : position
  return typeof index === 'number' ? index : position
}

function readVector(entry: unknown, dimensions: number): Outcome {
  const numbers =
    typeof entry === 'object' && entry !== null && 'embedding' in entry ? entry.embedding : undefined
  if (!Array.isArray(numbers) || numbers.length !== dimensions) {
    const size = Array.isArray(numbers) ? `${numbers.length} numbers` : 'no list of numbers'
    throw new EmbeddingError(
      'wrong_answer',
      `The endpoint answered ${size}, not the ${dimensions} that are set.`,
    )
  }
  if (!numbers.every((value) => typeof value === 'number' && Number.isFinite(value)))
    return new EmbeddingError('wrong_answer', 'The endpoint answered something that is no number.')
  try {
    return normalize(Float32Array.from(numbers))
  } catch (error) {
    if (error instanceof EmbeddingError) return error
    throw error
  }
}
