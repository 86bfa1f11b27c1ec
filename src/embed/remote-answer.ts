import type { Outcome } from './batch-queue.ts'
import { EmbeddingError, normalize } from './embedder.ts'

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
