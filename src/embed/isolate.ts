import type { Outcome } from './batch-queue.ts'
import { EmbeddingError } from './embedder.ts'

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

async function halves(texts: readonly string[], calls: IsolateCalls, left: Left): Promise<Outcome[]> {
  const middle = texts.length >> 1
  const first = await part(texts.slice(0, middle), calls, left)
  const second = await part(texts.slice(middle), calls, left)
  if (first.isTaken && second.isTaken) calls.tooMany(middle)
  return [...first.outcomes, ...second.outcomes]
}

interface Part {
  readonly outcomes: readonly Outcome[]
  /** In one call. */
  readonly isTaken: boolean
}

async function part(texts: readonly string[], calls: IsolateCalls, left: Left): Promise<Part> {
  if (left.calls <= 0) return { outcomes: texts.map(notKnown), isTaken: false }
  left.calls--
  try {
    return { outcomes: await calls.askOnce(texts), isTaken: true }
  } catch (error) {
    if (!(error instanceof CallFailure)) throw error
    // It was well a moment ago, and is away now.
    if (error.isOfTexts === 'no') left.calls = 0
    else if (texts.length > 1) return { outcomes: await halves(texts, calls, left), isTaken: false }
    return { outcomes: texts.map(() => alone(error)), isTaken: false }
  }
}

const alone = ({ reason, isOfTexts }: CallFailure): EmbeddingError =>
  isOfTexts === 'known' && reason.code === 'unavailable'
    ? new EmbeddingError('refused', 'The embedding endpoint takes other passages, and not this one.', reason)
    : reason

const notKnown = (): EmbeddingError =>
  new EmbeddingError('unavailable', 'The embedding endpoint refuses many passages at once.')
