import { createFollower } from '../../kernel/follower.ts'
import type { Log } from '../../kernel/log.ts'
import { createLru } from '../../kernel/lru.ts'
import { reasonOf } from '../../kernel/reason.ts'
import type { Database, Listener } from '../../store/sql.ts'

/**
 * Hears that an approval has changed, whichever process changed it. Says which, not what: whoever hears
 * reads.
 */
export interface ApprovalChanges extends AsyncDisposable {
  /**
   * Called once for each version, for all approvals. What was changed while nobody could hear is not told.
   */
  onChange(listener: (id: string) => void): Disposable
  /** Called for one approval, also where a change was not heard: it is looked at while somebody waits. */
  watch(id: string, listener: () => void): Disposable
}

/** Milliseconds between two looks where other processes may change something. */
const pollMs = 500
// Each change is told by every connection that is open: which were told already is remembered for so many.
const toldMax = 10_000

/**
 * Follows the channel `remit_approvals` as `authority.ts` follows its own: on PGlite one process hears
 * itself; on native Postgres a connection listens, and is asked besides after what somebody waits for. No
 * connection waits with them.
 */
export async function followApprovals(database: Database, log: Log): Promise<ApprovalChanges> {
  const listeners = new Set<(id: string) => void>()
  const watched = new Map<string, Set<() => void>>()
  const announcedVersions = createLru<number>({ entriesMax: toldMax })

  function tell(id: string, version: number): void {
    if ((announcedVersions.peek(id) ?? 0) >= version) return
    announcedVersions.set(id, version)
    for (const listener of listeners) listener(id)
    for (const listener of watched.get(id) ?? []) listener()
  }

  function notice(payload: string): void {
    const [id = '', version = ''] = payload.split(' ')
    if (/^\d+$/.test(version)) tell(id, Number(version))
  }

  const { openListener } = database
  const follower = createFollower<Listener>({
    // What was not heard is found here.
    async read(listener) {
      if (listener === undefined) return
      const rows = await listener.query<{ id: string; version: number }>(
        'select id, version from approvals where id = any($1)',
        [[...watched.keys()]],
      )
      for (const { id, version } of rows) tell(id, version)
    },
    ...(openListener && { pollMs, connect: () => openListener(notice, 'remit_approvals') }),
    onFailed(error, failures) {
      if (failures === 1) log('approvals_unheard', { reason: reasonOf(error) })
    },
    onRecovered: () => log('approvals_heard'),
  })
  database.onNotice(notice, 'remit_approvals')
  await follower.poll()
  follower.start()

  return {
    onChange(listener) {
      listeners.add(listener)
      return { [Symbol.dispose]: () => void listeners.delete(listener) }
    },
    watch(id, listener) {
      const watchers = watched.get(id) ?? new Set()
      watched.set(id, watchers.add(listener))
      return {
        [Symbol.dispose]() {
          watchers.delete(listener)
          if (watchers.size === 0 && watched.get(id) === watchers) watched.delete(id)
        },
      }
    },
    [Symbol.asyncDispose]: () => follower[Symbol.asyncDispose](),
  }
}
