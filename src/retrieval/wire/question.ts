import type { questionSchema } from '@remit/contract/retrieval-schemas'
import type { z } from 'zod'
import { AppError } from '../../kernel/errors.ts'
import type { Question } from '../question.ts'

/** The question of a parsed request, with its vector scaled to length 1. */
export function toQuestion(parsed: z.output<typeof questionSchema>): Question {
  const { query, embedding, top_k, mode, collections, filter, consistency, approval } = parsed
  return {
    ...(query !== undefined && { query }),
    ...(embedding !== undefined && { embedding: unit(embedding) }),
    topK: top_k,
    mode: embedding === undefined ? (mode ?? 'hybrid') : 'vector',
    ...(collections !== undefined && { collections }),
    ...(filter !== undefined && { filter }),
    consistency,
    ...(approval !== undefined && { approval }),
  }
}

// Stored vectors have length 1: one of another length would only scale the scores, zero has no direction. By
// index: by iterator this took as long as parsing the body.
function unit(values: readonly number[]): Float32Array {
  const { length: count } = values
  let largest = 0
  for (let index = 0; index < count; index += 1) largest = Math.max(largest, Math.abs(values[index] ?? 0))
  // By parts of the largest: no square is past what a number can hold.
  let squares = 0
  for (let index = 0; index < count; index += 1) squares += ((values[index] ?? 0) / largest) ** 2
  const length = largest * Math.sqrt(squares)
  if (!Number.isFinite(length) || largest === 0) {
    throw new AppError('invalid_request', { field: 'embedding', public: 'The vector has no direction.' })
  }
  const found = new Float32Array(count)
  for (let index = 0; index < count; index += 1) found[index] = (values[index] ?? 0) / length
  return found
}
