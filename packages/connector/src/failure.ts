import { isRemitError } from '@remit/client'
import { type Change, type Source, SourceUnavailable } from './source.ts'

/**
 * Whether an error ends a sync as it stands, instead of being one item's: nobody answers, the token is not
 * taken, somebody gave up, or nothing is known of it.
 */
export function endsSync(error: unknown, signal: AbortSignal | undefined): boolean {
  if (signal?.aborted === true || error instanceof SourceUnavailable) return true
  if (!isRemitError(error)) return true
  const { code, status } = error
  // A job that failed did so for its document.
  if (code === 'write_failed') return false
  return status === undefined || status === 401 || status === 429 || status >= 500
}

/** What went wrong, as one sentence. */
export const problemOf = (error: unknown): string =>
  isRemitError(error)
    ? `${error.code}: ${error.message}`
    : error instanceof Error
      ? error.message
      : String(error)

/** One item as it is now. An error that is not of the source as a whole is this item's own. */
export async function itemNow(source: Source, id: string, signal: AbortSignal | undefined): Promise<Change> {
  try {
    return await source.item(id, signal)
  } catch (error) {
    if (error instanceof SourceUnavailable || signal?.aborted === true) throw error
    return { kind: 'broken', id, name: id, problem: problemOf(error) }
  }
}
