import { inBackground } from '../../kernel/background.ts'
import { printable } from '../../kernel/printable.ts'
import { reasonOf } from '../../kernel/reason.ts'
import { type Recurring, startRecurring } from '../../kernel/recurring.ts'
import { entryFor, type RegisteredSecret } from '../../kernel/registered-secret.ts'
import type { GuardedFetch } from '../../outbound/guarded-fetch.ts'
import { endExpired, type Lease, takeLease } from '../../store/lease.ts'
import { noteAllSaid } from '../../store/older-groups.ts'
import { noteUnread } from '../../store/unread.ts'
import type { BringingDirectory } from '../directories.ts'
import { directoryActor } from '../memberships.ts'
import type { Feeder } from '../people.ts'
import { type Applied, type ApplyDeps, applyReading, Lost } from './apply.ts'
import type { DirectoryKind } from './kind.ts'
import { restStale, type StaleDeps } from './stale.ts'
import { replaceWaiting } from './waiting.ts'

/** Reads the directories that are due, each by one process at a time. */
export interface DirectoryRunner extends AsyncDisposable {
  /** Begins to look, each second. `reads`: false, and another process reads them. */
  start(options: { readonly reads: boolean }): void
  /** Reads what is due now, and resolves once all of that has ended. */
  runDue(): Promise<void>
  /**
   * Takes out of OpenFGA what directories give that nobody could read for their `max_age`. What keeps
   * somebody from something stays. The people of a required one are held.
   */
  rest(): Promise<void>
}

export interface DirectoryRunnerDeps extends Omit<StaleDeps, 'memberships'>, Pick<ApplyDeps, 'memberships'> {
  readonly kinds: ReadonlyMap<string, DirectoryKind>
  readonly secrets: readonly RegisteredSecret[]
  readonly outbound: GuardedFetch
  readonly newId: (prefix: 'u' | 'g') => string
  readonly now: () => number
  readonly leaseSeconds: number
  /** False: nothing is read for now. */
  readonly isSound: () => boolean
}

interface DirectoryRow extends Omit<BringingDirectory, 'preset'> {
  readonly kind: string
  readonly settings: unknown
  readonly origin: string
  readonly secret: string
}

const lookEveryMs = 1_000
const unreadEveryMs = 60_000
const readingMsMax = 3_600_000
const failurePauseSecondsMax = 3_600
const problemsMax = 100
const problemLengthMax = 500

/** No failure of one directory reaches another. */
export function createDirectoryRunner(deps: DirectoryRunnerDeps): DirectoryRunner {
  const { database, log } = deps
  const stopping = new AbortController()
  const running = new Map<string, Promise<void>>()
  const recurring: Recurring[] = []

  async function run(name: string): Promise<void> {
    try {
      await withLease(deps, name, stopping.signal)
    } catch (error) {
      if (!stopping.signal.aborted) log('directory_failed', { directory: name, reason: reasonOf(error) })
    }
  }

  async function begin(): Promise<void> {
    if (!deps.isSound()) return
    const due = await database.query<
      Pick<DirectoryRow, 'kind' | 'origin' | 'secret'> & { readonly name: string }
    >(
      `select name, kind, origin, secret from directories where kind <> 'scim' and next_at <= now() order by next_at`,
    )
    for (const directory of due) {
      const { name } = directory
      // Its credential is with another process: that one reads it.
      if (secretOf(deps.secrets, directory) === undefined) continue
      if (running.has(name) || stopping.signal.aborted) continue
      running.set(
        name,
        inBackground(() => run(name)).finally(() => running.delete(name)),
      )
    }
  }

  const rest = async (): Promise<void> => {
    if (deps.isSound()) await restStale(deps, stopping.signal)
  }

  return {
    start({ reads }) {
      if (reads) recurring.push(startRecurring(log, 'directories_due', lookEveryMs, begin))
      recurring.push(
        startRecurring(log, 'directories_stale', lookEveryMs, rest),
        startRecurring(log, 'unread_directories', unreadEveryMs, () => noteUnread(database, 'directories')),
      )
    },
    async runDue() {
      await begin()
      await Promise.all(running.values())
    },
    rest,
    async [Symbol.asyncDispose]() {
      stopping.abort(new Error('The service stops.'))
      await Promise.all(recurring.map((task) => task[Symbol.asyncDispose]()))
      await Promise.all(running.values())
    },
  }
}

const secretOf = (
  secrets: readonly RegisteredSecret[],
  { secret, kind, origin }: Pick<DirectoryRow, 'secret' | 'kind' | 'origin'>,
): string | undefined => entryFor(secrets, { name: secret, kind, origin })?.value

async function withLease(deps: DirectoryRunnerDeps, name: string, signal: AbortSignal): Promise<void> {
  const { database, leaseSeconds, newTxn } = deps
  const objects = [`directory:${name}`]
  // On PGlite there is one process, which has each directory at most once.
  await endExpired(database, objects, { isAlone: database.kind === 'pglite' })
  const lease = await takeLease(
    { database, seconds: leaseSeconds, lost: () => new Lost() },
    objects,
    `d_${newTxn()}`,
  )
  if (lease === undefined) return
  try {
    await turn(deps, name, lease, signal)
  } finally {
    await lease.end()
  }
}

/** Reads a directory and applies what it says. What fails confirms nothing, and is tried again later. */
async function turn(
  deps: DirectoryRunnerDeps,
  name: string,
  lease: Lease,
  signal: AbortSignal,
): Promise<void> {
  const { database, kinds, secrets, trusted, outbound, newTxn, now } = deps
  const [row] = await database.query<DirectoryRow & { readonly beganAt: Date }>(
    `select name, issuer, namespace, prefix, kind, settings, origin, secret, now() as "beganAt"
     from directories where name = $1`,
    [name],
  )
  if (row === undefined) return
  try {
    const directory = trusted(row)
    if (directory === undefined)
      throw new Error(`No trusted issuer has the namespace ${row.namespace} as then.`)
    const kind = kinds.get(row.kind)?.open(row.settings)
    const secret = secretOf(secrets, row)
    if (kind === undefined || secret === undefined || kind.origin !== row.origin)
      throw new Error(`DIRECTORY_SECRETS has no entry ${row.secret} for ${row.kind} at ${row.origin} here.`)
    const limit = AbortSignal.any([signal, AbortSignal.timeout(readingMsMax)])
    const reading = await kind.read({ secret, outbound, signal: limit })
    const feeder: Feeder = { directory, recordedAs: directoryActor(directory, newTxn()) }
    const applying: ApplyDeps = {
      ...deps,
      now: () => new Date(now()),
      transaction: (work) => {
        // Nothing of it counts: the next one reads all of it again.
        if (signal.aborted) throw new Lost()
        return lease.transaction(work)
      },
    }
    await noteEnd(lease, row, await applyReading(applying, feeder, reading))
  } catch (error) {
    if (!(error instanceof Lost) && !signal.aborted) await noteFailure(lease, row, error)
    throw error
  }
}

interface Begun {
  readonly name: string
  readonly beganAt: Date
}

const noteEnd = (
  lease: Lease,
  { name, beganAt }: Begun,
  { waiting, problems, left }: Applied,
): Promise<unknown> =>
  lease.transaction(async (sql) => {
    await sql.query(
      `update directories set began_at = $2, read_at = $2, ended_at = now(), failures = 0, problem = null,
         is_stale = false, problems = $3::jsonb,
         -- Whoever had it read again meanwhile is not passed over.
         next_at = case when next_at > $2 then next_at else now() + make_interval(secs => poll_seconds) end
       where name = $1`,
      [
        name,
        beganAt,
        JSON.stringify(
          problems.slice(0, problemsMax).map((problem) => printable(problem.slice(0, problemLengthMax))),
        ),
      ],
    )
    await replaceWaiting(sql, name, waiting)
    if (left !== undefined) await noteAllSaid(sql, name, left)
  })

const noteFailure = (lease: Lease, { name, beganAt }: Begun, error: unknown): Promise<unknown> =>
  lease
    .transaction((sql) =>
      sql.query(
        `update directories set began_at = $2, ended_at = now(), failures = failures + 1, problem = $3,
           next_at = now() + make_interval(secs => least($4::float8, 5 * power(2, least(failures, 20)))) where name = $1`,
        [name, beganAt, printable(reasonOf(error).slice(0, problemLengthMax)), failurePauseSecondsMax],
      ),
    )
    .catch((failure: unknown) => {
      if (!(failure instanceof Lost)) throw failure
    })
