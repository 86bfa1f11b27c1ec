import type { Log } from '../../kernel/log.ts'
import { reasonOf } from '../../kernel/reason.ts'
import type { Resources } from '../registry/resources.ts'

/** Types of details that the registered APIs announce. */
export interface KnownTypes {
  /** What was read last. */
  current(): readonly string[]
  /**
   * Waits where nothing was read yet, or this process changed the registry; else reads again behind the
   * request.
   */
  refresh(): Promise<void>
}

// Another process's change is seen that late; until then a new type is refused, and a removed one at the
// token.
const staleMs = 1_000

/** The types of others' details, kept so that no request of the authorization server waits for them. */
export function createKnownTypes({
  resources,
  now,
  log,
}: {
  readonly resources: Resources
  readonly now: () => number
  readonly log: Log
}): KnownTypes {
  let types: readonly string[] = []
  let seenVersion = -1
  let readAt = Number.NEGATIVE_INFINITY

  async function read(): Promise<void> {
    const version = resources.version()
    readAt = now()
    types = await resources.detailTypes()
    seenVersion = version
  }

  return {
    current: () => types,
    async refresh() {
      if (seenVersion !== resources.version()) return read()
      if (now() - readAt < staleMs) return
      read().catch((error: unknown) => log('resources_unread', { reason: reasonOf(error) }))
    },
  }
}
