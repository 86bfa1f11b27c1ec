import { isId } from '@remit/contract/id'
import { type RecordActor, record } from '../audit/record.ts'
import type { TupleKey } from '../authz/fga.ts'
import { LastAdministrator, type PersonEnd } from '../delegation/administration/person-end.ts'
import { isKey, subjectKey } from '../delegation/registry/subject.ts'
import { presets } from '../delegation/tokens/presets.ts'
import { AppError } from '../kernel/errors.ts'
import type { Runtime } from '../store/runtime.ts'
import type { Sql } from '../store/sql.ts'
import type { BringingDirectory } from './directories.ts'
import { aboveMember, endMemberships, restMemberships, wakeMemberships } from './member-rows.ts'
import type { Memberships } from './memberships.ts'

/** Whoever brings people and groups: a directory, and as what it is on record. */
export interface Feeder {
  readonly directory: BringingDirectory
  readonly recordedAs: RecordActor
}

/** A person by the issuer's subject, and what they are behind `user:`, such as `acme/anne`. */
export interface PersonKey {
  readonly sub: string
  readonly account: string
}

/** A person of a directory, as its row has them. */
export interface DirectoryPerson extends PersonKey {
  readonly id: string
  readonly isActive: boolean
  /** Another one with every change. */
  readonly version: number
}

/** What a feeder says of a person, to be stored. */
export interface PersonState {
  /** What is kept to be shown or read back. Nothing is decided by it. */
  readonly attributes: Readonly<Record<string, unknown>>
  /** By which no two of a directory are told apart by case alone. */
  readonly login: string
  readonly isActive: boolean
}

/** What is left to do once a transaction is committed. */
export type Afterwards = () => Promise<void>

/** Nothing is left to do. */
export const nothingLeft: Afterwards = async () => undefined

/** Somebody is not admitted yet: what they had is not gone from OpenFGA. */
export class StillEnding extends AppError {
  constructor() {
    super('conflict', {
      public: 'What this person had is still being taken away. Try again in a minute.',
    })
  }
}

/**
 * What becomes of people whom a directory brings, however it does: one writer of their rows, and one end of
 * what they have. Each takes the caller's transaction; what is left to do follows its commit.
 */
export interface DirectoryPeople {
  /** Makes a person. Undefined: the key or the login is, or was, somebody's. */
  add(sql: Sql, feeder: Feeder, person: NewPerson): Promise<Afterwards | undefined>
  /**
   * Writes what a person is from now on, and ends or admits them where that is what changes. The row is
   * locked by the caller. Whoever is admitted has to be settled before. Throws {@link StillEnding}, and
   * `conflict` for the last administrator.
   */
  change(sql: Sql, feeder: Feeder, old: DirectoryPerson, change: PersonChange): Promise<Afterwards>
  /**
   * Has a person be as the service read it; the row is locked by the caller. Whom is held has all of it back
   * once active, and whose end is for good has nothing. Throws as `change` does.
   */
  turn(
    sql: Sql,
    feeder: Feeder,
    old: ReadDirectoryPerson,
    to: PersonLife,
    settled: Settled,
  ): Promise<Afterwards>
  /** Forgets a person but for the key, which is nobody else's from now on, and shuts them out. */
  remove(sql: Sql, feeder: Feeder, old: DirectoryPerson): Promise<Afterwards>
  /**
   * In transactions of its own, before somebody is admitted: what keeps them from something is in force, and
   * what others wrote that lets them read by their own name is gone, before they may sign in. Of somebody who
   * is held nothing ends.
   */
  settleBefore(feeder: Feeder, person: Pick<DirectoryPerson, 'id' | 'account'>): Promise<Settled>
  /** Runs `work`; where nobody is ended, since nobody else would administer, that is put on record. */
  orRefusal<T>(feeder: Feeder, id: string, work: () => Promise<T>): Promise<T>
}

/** For which version of a person `settleBefore` ran; undefined: it did not. */
export type Settled = number | undefined

/** Somebody who was not there. */
export interface NewPerson extends PersonState, PersonKey {
  readonly id: string
  readonly createdAt: Date
  /** The directory's own id of the entry, where a feeder knows one beside the key. */
  readonly immutableId?: string
}

/** How somebody is whom the service reads by itself. `held`: shut out, and nothing of theirs is ended. */
export type PersonLife = 'active' | 'held' | 'ended'

/** Somebody whom the service reads by itself. */
export interface ReadDirectoryPerson extends DirectoryPerson {
  readonly isHeld: boolean
}

/** What a person is from now on, and how it is called on record. */
export interface PersonChange extends PersonState {
  readonly kind: 'replaced' | 'patched'
  readonly version: number
  readonly changedAt: Date
  readonly settled: Settled
}

export interface DirectoryPeopleDeps extends Pick<Runtime, 'database' | 'clock'> {
  readonly personEnd: PersonEnd
  readonly memberships: Pick<Memberships, 'settle' | 'restricting' | 'restrictingOf'>
  /** See `rightsByName` and `takeAway` of src/ingest. */
  readonly rights: {
    readonly byName: (member: string) => Promise<readonly TupleKey[]>
    readonly takeAway: (recordedAs: RecordActor, tuples: readonly TupleKey[]) => Promise<void>
  }
}

/** Does NOT check who asks. */
export function createDirectoryPeople(deps: DirectoryPeopleDeps): DirectoryPeople {
  const { database, clock, personEnd, memberships, rights } = deps
  const now = () => new Date(clock.now())

  const settled =
    ({ directory, recordedAs }: Feeder, groups: readonly string[]): Afterwards =>
    () =>
      memberships.settle(
        groups.map((id) => ({ id, directory })),
        recordedAs,
      )

  /** The ends first: a crash behind them leaves somebody out, never in. */
  async function end(sql: Sql, feeder: Feeder, { sub, account }: PersonKey): Promise<Afterwards> {
    const { directory, recordedAs } = feeder
    const settle = await personEnd.end(sql, { issuer: directory.issuer, sub, person: account }, recordedAs)
    // Out of a group that is kept from something, they might read more once they are active.
    const kept = await memberships.restricting(sql, `user:${account}`, { orAll: true })
    // Listed in the others: one that is blocked somewhere meanwhile keeps them from it when they come back.
    const rested = settled(feeder, await restMemberships(sql, `user:${account}`, kept))
    return async () => {
      await settle()
      await rested()
    }
  }

  async function endGroups(
    sql: Sql,
    feeder: Feeder,
    account: string,
    kept: readonly string[],
    before: Afterwards,
  ): Promise<Afterwards> {
    const settle = settled(feeder, await endMemberships(sql, `user:${account}`, now(), kept))
    return async () => {
      await before()
      await settle()
    }
  }

  /**
   * Nothing is on its way, of them or of a group that they are in, and what keeps them from something is in
   * force. Returns those groups.
   */
  async function assertBlocksStand(sql: Sql, member: string): Promise<readonly string[]> {
    const kept = await memberships.restricting(sql, member, { orAll: false })
    const pending = await sql.query(
      `with recursive ${aboveMember}
       select from directory_unsettled where member in (select userset from above) union all
       select from directory_members where member = $1 and is_dormant and group_id = any($2::text[]) limit 1`,
      [member, [...kept]],
    )
    if (pending.length > 0) throw new StillEnding()
    const resting = await sql.query<{ userset: string }>(
      `with recursive ${aboveMember}
       select distinct 'group:' || prefix || group_id || '#member' as userset from directory_members
       join directory_groups on directory_groups.id = group_id join directories on name = directory
       where member in (select userset from above) and member <> $1 and is_dormant`,
      [member],
    )
    const blocks = await memberships.restrictingOf(
      sql,
      resting.map(({ userset }) => userset),
    )
    if (blocks.length > 0) throw new StillEnding()
    return kept
  }

  /**
   * What nobody tells again. Not a membership that keeps them from something: out of it they would read more.
   * Only now: what is blocked since the end is known.
   */
  async function endRightsByName({ recordedAs }: Feeder, member: string): Promise<void> {
    const tuples = await rights.byName(member)
    const membersOf = ({ object, relation }: TupleKey): string => `${object}#${relation}`
    const kept = new Set(await memberships.restrictingOf(database, tuples.map(membersOf)))
    await rights.takeAway(
      recordedAs,
      tuples.filter((tuple) => !kept.has(membersOf(tuple))),
    )
  }

  /** Signing in comes back only where what was taken away is gone from OpenFGA too. */
  async function admit(
    sql: Sql,
    feeder: Feeder,
    { sub, account, version }: DirectoryPerson,
    settled: Settled,
  ): Promise<Afterwards> {
    if (settled !== version) throw new StillEnding()
    const { directory, recordedAs } = feeder
    const kept = await assertBlocksStand(sql, `user:${account}`)
    const settle = await personEnd.admit(sql, { issuer: directory.issuer, sub, person: account }, recordedAs)
    // What they were listed in meanwhile: the directory says it again, of somebody who is active.
    return endGroups(sql, feeder, account, kept, settle)
  }

  /** Out of what gives something, and in what keeps them from something. */
  async function hold(sql: Sql, feeder: Feeder, { sub, account }: PersonKey): Promise<Afterwards> {
    const { directory, recordedAs } = feeder
    const before = await personEnd.hold(sql, { issuer: directory.issuer, sub, person: account }, recordedAs)
    const member = `user:${account}`
    const kept = await memberships.restricting(sql, member, { orAll: true })
    const settle = settled(feeder, await restMemberships(sql, member, kept))
    return async () => {
      await before()
      await settle()
    }
  }

  async function release(sql: Sql, feeder: Feeder, { sub, account }: PersonKey): Promise<Afterwards> {
    const { directory, recordedAs } = feeder
    await assertBlocksStand(sql, `user:${account}`)
    await personEnd.release(sql, { issuer: directory.issuer, sub, person: account }, recordedAs)
    return settled(feeder, await wakeMemberships(sql, `user:${account}`, undefined))
  }

  return {
    async add(sql, feeder, person) {
      const { directory, recordedAs } = feeder
      const { account, isActive } = person
      if (await isMoved(sql, account)) return undefined
      const inserted = await sql.query(
        `insert into directory_users (id, directory, sub, account, login, attributes, is_active, created_at,
           changed_at, immutable_id)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $8, $9) on conflict do nothing returning id`,
        [
          person.id,
          directory.name,
          person.sub,
          account,
          person.login,
          person.attributes,
          isActive,
          person.createdAt,
          person.immutableId ?? null,
        ],
      )
      if (inserted.length === 0) return undefined
      const rest = isActive ? nothingLeft : await end(sql, feeder, person)
      await record(sql, recordedAs, changed(person, 'created'))
      return rest
    },
    async change(sql, feeder, old, { attributes, login, isActive, kind, version, changedAt, settled }) {
      const rest =
        old.isActive === isActive
          ? nothingLeft
          : await (isActive ? admit(sql, feeder, old, settled) : end(sql, feeder, old))
      await sql.query(
        `update directory_users set attributes = $2, login = $3, is_active = $4, version = $5, changed_at = $6
         where id = $1`,
        [old.id, attributes, login, isActive, version, changedAt],
      )
      await record(sql, feeder.recordedAs, changed({ account: old.account, isActive }, kind))
      return rest
    },
    async turn(sql, feeder, old, to, settled) {
      const from: PersonLife = old.isActive ? 'active' : old.isHeld ? 'held' : 'ended'
      // What is ended for good is not held any more.
      if (from === to || (from === 'ended' && to === 'held')) return nothingLeft
      const turning = to === 'ended' ? end : to === 'held' ? hold : from === 'held' ? release : admit
      const rest = await turning(sql, feeder, old, settled)
      const isActive = to === 'active'
      await sql.query(
        `update directory_users set is_active = $2, is_held = $3, version = version + 1, changed_at = $4
         where id = $1`,
        [old.id, isActive, to === 'held', now()],
      )
      await record(sql, feeder.recordedAs, changed({ account: old.account, isActive }, 'replaced'))
      return rest
    },
    async remove(sql, feeder, old) {
      const ended = old.isActive ? await end(sql, feeder, old) : nothingLeft
      // Also what keeps them from something: nobody comes back by this key.
      const rest = await endGroups(sql, feeder, old.account, [], ended)
      // The row stays: its key is nobody else's from now on, and who had it stays shut out.
      await sql.query(
        `update directory_users set attributes = '{}', login = '', is_active = false, version = version + 1,
           changed_at = $2, deleted_at = $2 where id = $1`,
        [old.id, now()],
      )
      await record(sql, feeder.recordedAs, changed({ account: old.account, isActive: false }, 'deleted'))
      return rest
    },
    async settleBefore({ directory, recordedAs }, { id, account }) {
      const member = `user:${account}`
      const person = await database.transaction(async (sql) => {
        const [row] = await sql.query<{ version: number; isEnded: boolean }>(
          `select version, not is_active and not is_held as "isEnded" from directory_users where id = $1 for update`,
          [id],
        )
        // Where nobody knows what a relation does, nothing comes back, and nobody is admitted.
        await wakeMemberships(sql, member, await memberships.restricting(sql, member, { orAll: false }))
        return row
      })
      const groups = await database.query<{ id: string }>(
        `with recursive ${aboveMember}
         select distinct group_id as id from directory_unsettled where member in (select userset from above) order by 1`,
        [member],
      )
      await memberships.settle(
        groups.map((group) => ({ id: group.id, directory })),
        recordedAs,
      )
      if (person?.isEnded === true) await endRightsByName({ directory, recordedAs }, member)
      return person?.version
    },
    async orRefusal({ directory, recordedAs }, id, work) {
      try {
        return await work()
      } catch (error) {
        if (error instanceof LastAdministrator) {
          const [row] = await database.query<Pick<DirectoryPerson, 'account' | 'isActive'>>(
            `select account, is_active as "isActive" from directory_users
             where id = $1 and directory = $2 and deleted_at is null`,
            [id, directory.name],
          )
          if (row !== undefined)
            await database.transaction((sql) => record(sql, recordedAs, changed(row, 'end_refused')))
        }
        throw error
      }
    },
  }
}

/**
 * The key of a person by what their directory says of them. Undefined: no token of the issuer ever has such a
 * subject, or OpenFGA would not take it as a user, and nobody could end it there.
 */
export function keyOf(
  { namespace, issuer, preset }: BringingDirectory,
  value: string,
): PersonKey | undefined {
  const sub = preset === 'entra' ? entraSubject(value, issuer) : value
  const key = sub === undefined ? undefined : subjectKey(sub)
  const account = `${namespace}/${key ?? ''}`
  return sub === undefined || key === undefined || !isKey(key) || !isId(account)
    ? undefined
    : { sub, account }
}

function entraSubject(value: string, issuer: string): string | undefined {
  const [tid, oid, ...rest] = value.toLowerCase().split('.')
  const sub = rest.length === 0 ? presets.entra.sub({ tid, oid }, issuer) : undefined
  return typeof sub === 'string' ? sub : undefined
}

/** Whoever moves somebody from this key meanwhile is waited for: nothing is to come under it any more. */
async function isMoved(sql: Sql, account: string): Promise<boolean> {
  await sql.query('lock table person_moves in share mode')
  return (await sql.query('select from person_moves where old_key = $1', [account])).length > 0
}

const changed = (
  { account, isActive }: Pick<DirectoryPerson, 'account' | 'isActive'>,
  change: 'created' | 'replaced' | 'patched' | 'deleted' | 'end_refused',
) => ({ event: 'directory_user_changed', user: `user:${account}`, change, active: isActive }) as const
