import type { Proven } from '@remit/contract/decision-event'
import type { Proof } from '../authz/gate.ts'

/**
 * The gate's proof in the words of the record. What was read without one cannot be: reading takes a
 * `Cleared<T>`.
 */
export function evidenceOf(proof: Proof | undefined): Proven {
  if (proof === undefined) throw new Error('Something was read that the gate did not clear.')
  return proof.kind === 'held' ? { proof: 'held', age_ms: proof.ageMs } : { proof: proof.kind }
}

/** The tuples that it rested on, where they are known. */
export function supportingTuples(
  tuplesByDocument: ReadonlyMap<string, readonly string[]>,
  documentId: string,
): { readonly why?: readonly string[] } {
  const tuples = tuplesByDocument.get(documentId)
  return tuples === undefined ? {} : { why: tuples }
}
