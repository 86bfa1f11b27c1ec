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

const itemsAtOnce = 1_000

/**
 * Items as they are now, one after the other, or many at once where the source gives them so. An error that
 * is not of the source as a whole is the item's own.
 */
export async function* itemsNow(
  source: Source,
  ids: readonly string[],
  signal: AbortSignal | undefined,
): AsyncGenerator<Change> {
  const broken = (id: string, error: unknown): Change => {
    if (error instanceof SourceUnavailable || signal?.aborted === true) throw error
    return { kind: 'broken', id, name: id, problem: problemOf(error) }
  }
  // One after the other: a source that counts requests is asked no faster than by a crawl.
  if (source.items === undefined)
    for (const id of ids) yield await source.item(id, signal).catch((error: unknown) => broken(id, error))
  else
    for (let offset = 0; offset < ids.length; offset += itemsAtOnce) {
      const slice = ids.slice(offset, offset + itemsAtOnce)
      const told = await source
        .items(slice, signal)
        .catch((error: unknown) => slice.map((id) => broken(id, error)))
      yield* told
      const toldIds = new Set(told.map(({ id }) => id))
      for (const id of slice)
        if (!toldIds.has(id)) yield broken(id, new Error('The source does not say what became of it.'))
    }
}
