import { randomUUID } from 'node:crypto'
import type { Log } from '../../../kernel/log.ts'
import { OperatorError } from '../../../kernel/operator-error.ts'
import { startRecurring } from '../../../kernel/recurring.ts'
import { endExpired, takeLease } from '../../../store/lease.ts'
import type { ChunkIndex } from '../port.ts'
import { EngineRefused } from './engine.ts'
import { readGenerations } from './generations.ts'
import { assertEngine, lookAtIndex } from './mapping.ts'
import { createOpensearchIndex } from './opensearch-index.ts'
import { catchUp } from './reconcile.ts'
import { beginEngine, keepEngine, type UpkeepDeps } from './upkeep.ts'

/** The search engine in use. */
export interface SearchEngine extends AsyncDisposable {
  readonly index: ChunkIndex
  /**
   * Does now what there is to be done to the engine, or waits for the turn that is under way. Never rejects.
   */
  readonly keep: () => Promise<void>
}

/** One line a minute: an outage refuses every search. */
function tellSometimes(log: Log): (error: EngineRefused) => void {
  let toldAt = Number.NEGATIVE_INFINITY
  return ({ message }) => {
    if (performance.now() - toldAt < 60_000) return
    toldAt = performance.now()
    log('search_engine_refuses', { reason: message })
  }
}

const turnMs = 2_000
const leaseSeconds = 60
const upkeep = ['search-engine']

/**
 * Opens the chunk index on OpenSearch, and keeps the engine as the database says, one process at a time.
 * Throws `OperatorError` where the engine is none that was tried, logs requests, or has changed an index of
 * ours. Until the first index is whole, little is searched in Postgres and more is `search_unavailable`.
 */
export async function openSearchEngine(deps: UpkeepDeps): Promise<SearchEngine> {
  const { database, engine, log } = deps
  await assertEngine(engine).catch((error: unknown) => {
    throw error instanceof EngineRefused ? new OperatorError(error.message, error) : error
  })
  for (const generation of await readGenerations(database))
    if ((await lookAtIndex(engine, generation.index, generation)).is === 'changed')
      throw new OperatorError(
        `The index ${generation.index} of the search engine is not as Remit made it. Drop it: Remit makes another.`,
      )
  await catchUp(database)
  const closing = new AbortController()
  const alone = async (work: () => Promise<void>): Promise<void> => {
    const lost = () => new Error('Another process keeps the search engine.')
    // Of a process that died in its turn. PGlite has no other one.
    await endExpired(database, upkeep, { isAlone: database.kind === 'pglite' })
    const lease = await takeLease({ database, seconds: leaseSeconds, lost }, upkeep, randomUUID())
    if (lease === undefined) return
    try {
      await work()
    } finally {
      await lease.end()
    }
  }
  await alone(() => beginEngine(deps))
  await using stack = new AsyncDisposableStack()
  const turns = stack.use(
    startRecurring(log, 'search_engine', turnMs, () => alone(() => keepEngine(deps, closing.signal))),
  )
  // The first to happen: a filling that is under way ends at its next page.
  stack.defer(() => closing.abort())
  const owned = stack.move()
  return {
    index: createOpensearchIndex({ database, engine, onRefused: tellSometimes(log) }),
    keep: () => turns.poll(),
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  }
}
