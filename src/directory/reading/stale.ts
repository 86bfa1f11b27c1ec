import { LastAdministrator } from '../../delegation/administration/person-end.ts'
import type { Log } from '../../kernel/log.ts'
import { reasonOf } from '../../kernel/reason.ts'
import type { Database, Sql } from '../../store/sql.ts'
import type { BringingDirectory } from '../directories.ts'
import { restDirectory, wakeDirectory } from '../member-rows.ts'
import { directoryActor, type Memberships } from '../memberships.ts'
import type { Afterwards, DirectoryPeople, Feeder, ReadDirectoryPerson } from '../people.ts'

/** What happens to directories that nobody could read takes. */
export interface StaleDeps {
  readonly database: Database
  /** The directory as its trusted issuer is configured now; undefined: it is another one by now. */
  readonly trusted: (directory: Omit<BringingDirectory, 'preset'>) => BringingDirectory | undefined
  readonly people: DirectoryPeople
  readonly memberships: Pick<Memberships, 'settle' | 'restrictingIn'>
  readonly log: Log
  readonly newTxn: () => string
}

/**
 * Has memberships rest of each directory whose last complete reading is older than its `max_age`, and holds
 * the people of those that are required. By whichever process comes first; the rows say it to all.
 */
export async function restStale(deps: StaleDeps, signal: AbortSignal): Promise<void> {
  const stale = await deps.database.query<StaleDirectory>(
    `select name, issuer, namespace, prefix, is_stale as "isStale", required as "isRequired" from directories
     where kind <> 'scim' and ${isTooOld}
       -- What a reading gave back that died before its end rests again.
       and (not is_stale or not exists (select from leases where object = 'directory:' || name and until > now()))`,
  )
  const ended = await Promise.allSettled(stale.map((directory) => restOne(deps, directory, signal)))
  for (const one of ended) if (one.status === 'rejected') throw one.reason
}

interface StaleDirectory extends Omit<BringingDirectory, 'preset'> {
  /** It was before this look. */
  readonly isStale: boolean
  readonly isRequired: boolean
}

// By the database's clock.
const isTooOld = 'coalesce(read_at, created_at) <= now() - make_interval(secs => max_age_seconds)'

/** People first: whoever is shut out reads nothing. */
async function restOne(deps: StaleDeps, directory: StaleDirectory, signal: AbortSignal): Promise<void> {
  const { database, memberships, newTxn } = deps
  const groups = await database.transaction(async (sql) => {
    const [row] = await sql.query<{ stale: boolean }>(
      `select is_stale as stale from directories where name = $1 and ${isTooOld} for update`,
      [directory.name],
    )
    if (row === undefined) return []
    if (!row.stale)
      await sql.query('update directories set is_stale = true where name = $1', [directory.name])
    const restricting = await memberships.restrictingIn(sql, directory.name)
    // What denies them something may have been written since they rest.
    const woken = await wakeDirectory(sql, directory.name, restricting)
    return [...woken, ...(await restDirectory(sql, directory.name, restricting))]
  })
  if (directory.isRequired) await holdPeople(deps, directory, signal)
  if (groups.length === 0) return
  await memberships.settle(
    groups.map((id) => ({ id, directory })),
    directoryActor(directory, newTxn()),
  )
}

/** One whom it cannot hold keeps no other from it, nor memberships from resting. */
async function holdPeople(deps: StaleDeps, stale: StaleDirectory, signal: AbortSignal): Promise<void> {
  const { database, people, trusted, newTxn, log } = deps
  const { name, isStale: wasStale } = stale
  const directory = trusted(stale)
  // Then no token of theirs is taken.
  if (directory === undefined) return
  const feeder: Feeder = { directory, recordedAs: directoryActor(directory, newTxn()) }
  const active = await database.query<Pick<ReadDirectoryPerson, 'id' | 'version'>>(
    'select id, version from directory_users where directory = $1 and is_active order by id',
    [name],
  )
  let held = 0
  for (const { id, version } of active) {
    if (signal.aborted) break
    try {
      const hold = () => database.transaction((sql) => holdPerson(people, sql, feeder, { id, version }))
      // On record once, not with every look.
      const afterwards = await (wasStale ? hold() : people.orRefusal(feeder, id, hold))
      if (afterwards === undefined) continue
      held += 1
      await afterwards()
    } catch (error) {
      if (!(error instanceof LastAdministrator && wasStale))
        log('directory_failed', { directory: name, reason: reasonOf(error) })
    }
  }
  // A reading that was under way may have passed them over: the next one comes at once.
  if (held > 0) await database.query('update directories set next_at = now() where name = $1', [name])
}

/** Undefined: it was read meanwhile, or they changed. */
async function holdPerson(
  people: DirectoryPeople,
  sql: Sql,
  feeder: Feeder,
  { id, version }: Pick<ReadDirectoryPerson, 'id' | 'version'>,
): Promise<Afterwards | undefined> {
  const [row] = await sql.query<ReadDirectoryPerson>(
    `select id, sub, account, is_active as "isActive", is_held as "isHeld", version from directory_users
     where id = $1 and version = $2 and exists (
       select from directories where name = directory and required and ${isTooOld}) for update`,
    [id, version],
  )
  return row && people.turn(sql, feeder, row, 'held', undefined)
}
