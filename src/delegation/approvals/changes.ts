import { setTimeout as sleep } from 'node:timers/promises'
import type { Clock } from '../../kernel/clock.ts'
import { createFollower } from '../../kernel/follower.ts'
import type { Log } from '../../kernel/log.ts'
import { createLru } from '../../kernel/lru.ts'
import { reasonOf } from '../../kernel/reason.ts'
import type { Database, Listener } from '../../store/sql.ts'
import type { Approval } from './approval.ts'

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
 * Follows the channel `remit_approvals` as `revocation-feed.ts` follows its own: on PGlite one process hears
 * itself; on native Postgres a connection listens, and is asked besides after what somebody waits for. No
 * connection waits with them.
 */
export async function followApprovals(
  database: Pick<Database, 'onNotice' | 'openListener'>,
  log: Log,
): Promise<ApprovalChanges> {
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

/** Requests that wait for a person. None of them holds a connection to the database. */
interface Waits {
  /**
   * How it stands once it is no longer as it was when this was called, at once where it is not `pending`, and
   * in any case when the signal fires or the service closes. `read` is asked before, and after each change
   * that was heard.
   */
  until(
    read: () => Promise<Approval | undefined>,
    key: WaitKey,
    signal: AbortSignal,
  ): Promise<Approval | undefined>
  /** Answers everybody who waits, and from now on whoever would, at once. */
  close(): void
}

/** The approval that is waited for, and who waits, for the limit of {@link waitsMax}. */
interface WaitKey {
  readonly id: string
  /** Whose waits are counted together: beyond {@link waitsMax} they are answered at once. */
  readonly owner: string
}

interface WaitsDeps {
  readonly changes: Pick<ApprovalChanges, 'watch'>
  readonly clock: Clock
  /** Throws a 503 while it is not known who may act: whoever waits is told. */
  readonly assertOpen: () => void
}

/** Requests of one owner that may wait at once. One more is answered at once. */
export const waitsMax = 20
const tickMs = 500
// What ends with what was lent is told by nobody here.
const lookMs = 5_000

/** Holds no database connection while it waits. `close` ends every wait. */
export function createWaits({ changes, clock, assertOpen }: WaitsDeps): Waits {
  const closing = new AbortController()
  const counts = new Map<string, number>()

  const count = (owner: string, delta: 1 | -1): void => {
    const newCount = (counts.get(owner) ?? 0) + delta
    if (newCount === 0) counts.delete(owner)
    else counts.set(owner, newCount)
  }

  return {
    async until(read, { id, owner }, signal) {
      const stop = AbortSignal.any([signal, closing.signal])
      // Heard before the first look: what changes from there on is not missed.
      let change = new AbortController()
      using _watch = changes.watch(id, () => change.abort())
      const initial = await read()
      if (initial === undefined || (counts.get(owner) ?? 0) >= waitsMax) return initial
      count(owner, 1)
      try {
        let current: Approval | undefined = initial
        while (current?.state === 'pending' && current.version === initial.version && !stop.aborted) {
          const restsSince = clock.now()
          const lookAt = Math.min(restsSince + lookMs, current.expiresAt.getTime())
          // A clock that was set back comes to that moment an hour late.
          const isEarly = (at: number) => at >= restsSince && at < lookAt
          const awake = AbortSignal.any([stop, change.signal])
          while (!awake.aborted && isEarly(clock.now())) {
            assertOpen()
            await sleep(tickMs, undefined, { signal: awake }).catch(() => undefined)
          }
          change = new AbortController()
          // The machine may have slept through all of it.
          assertOpen()
          current = await read()
        }
        return current
      } finally {
        count(owner, -1)
      }
    },
    close: () => closing.abort(),
  }
}
