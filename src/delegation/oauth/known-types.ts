import { reasonOf } from '../../kernel/reason.ts'
import type { Runtime } from '../../store/runtime.ts'
import type { Resources } from '../registry/resources.ts'

// Another process's change is seen that late; until then a new type is refused, and a removed one at the
// token.
const staleMs = 1_000

interface KnownTypesDeps extends Pick<Runtime, 'clock' | 'log'> {
  readonly resources: Resources
}

/**
 * Types of details that the registered APIs announce, kept so that no request of the authorization server waits for
 * them.
 */
export function createKnownTypes({ resources, clock, log }: KnownTypesDeps) {
  let types: readonly string[] = []
  let seenVersion = -1
  let readAt = Number.NEGATIVE_INFINITY

  async function read(): Promise<void> {
    const version = resources.version()
    readAt = clock.now()
    types = await resources.detailTypes()
    seenVersion = version
  }

  return {
    /** What was read last. */
    current: () => types,
    /**
     * Waits where nothing was read yet, or this process changed the registry; else reads again behind the
     * request.
     */
    async refresh(): Promise<void> {
      if (seenVersion !== resources.version()) return read()
      if (clock.now() - readAt < staleMs) return
      read().catch((error: unknown) => log('resources_unread', { reason: reasonOf(error) }))
    },
  }
}
