import type { Log } from '../../kernel/log.ts'
import { reasonOf } from '../../kernel/reason.ts'
import type { Database, Ear } from '../../store/sql.ts'

/** Hears that an approval has changed, whichever process changed it. Says which, not what: whoever hears reads. */
export interface Changes extends AsyncDisposable {
  /** Called once for each version, for all approvals. What was changed while nobody could hear is not told. */
  onChange(listener: (id: string) => void): Disposable
  /** Called for one approval, also where a change was not heard: it is looked at while somebody waits. */
  watch(id: string, listener: () => void): Disposable
}

export interface ChangesOptions {
  readonly database: Database
  readonly log: Log
  /** Milliseconds between two looks where other processes may change something. Default 500. */
  readonly pollMs?: number
}

// Each change is told by every connection that is open: which were told already is remembered for so many.
const toldMax = 10_000

/**
 * Follows the channel `remit_approvals` as `authority.ts` follows its own: on PGlite one process hears itself; on native
 * Postgres a connection listens, and is asked besides after what somebody waits for. No connection waits with them.
 */
export async function followApprovals({ database, log, pollMs = 500 }: ChangesOptions): Promise<Changes> {
  const listeners = new Set<(id: string) => void>()
  const watched = new Map<string, Set<() => void>>()
  const told = new Map<string, number>()
  let ear: Ear | undefined
  let isDeaf = false
  let closed = false
  let timer: NodeJS.Timeout | undefined
  let looking: Promise<void> = Promise.resolve()

  function tell(id: string, version: number): void {
    if ((told.get(id) ?? 0) >= version) return
    told.delete(id)
    told.set(id, version)
    if (told.size > toldMax) {
      const [oldest] = told.keys()
      if (oldest !== undefined) told.delete(oldest)
    }
    for (const listener of listeners) listener(id)
    for (const listener of watched.get(id) ?? []) listener()
  }

  function notice(payload: string): void {
    const [id = '', version = ''] = payload.split(' ')
    if (/^\d+$/.test(version)) tell(id, Number(version))
  }

  /** What was not heard is found here. */
  async function look(): Promise<void> {
    if (database.openEar === undefined) return
    try {
      ear ??= await database.openEar(notice, 'remit_approvals')
      const rows = await ear.query<{ id: string; version: number }>(
        'select id, version from approvals where id = any($1)',
        [[...watched.keys()]],
      )
      for (const { id, version } of rows) tell(id, version)
      if (isDeaf) log('approvals_heard')
      isDeaf = false
    } catch (error) {
      void ear?.[Symbol.asyncDispose]()
      ear = undefined
      if (!isDeaf && !closed) log('approvals_unheard', { reason: reasonOf(error) })
      isDeaf = true
    }
  }

  function schedule(): void {
    if (closed) return
    timer = setTimeout(() => {
      looking = look().finally(schedule)
    }, pollMs).unref()
  }

  database.onNotice(notice, 'remit_approvals')
  await look()
  schedule()

  return {
    onChange(listener) {
      listeners.add(listener)
      return { [Symbol.dispose]: () => void listeners.delete(listener) }
    },
    watch(id, listener) {
      const others = watched.get(id) ?? new Set()
      watched.set(id, others.add(listener))
      return {
        [Symbol.dispose]() {
          others.delete(listener)
          if (others.size === 0 && watched.get(id) === others) watched.delete(id)
        },
      }
    },
    async [Symbol.asyncDispose]() {
      closed = true
      clearTimeout(timer)
      await looking
      await ear?.[Symbol.asyncDispose]()
    },
  }
}
