import { invalid } from '../../kernel/errors.ts'
import type { Runtime } from '../../store/runtime.ts'
import type { Sql } from '../../store/sql.ts'
import type { Persons } from '../people/persons.ts'

/** Every right that an administrator can have, by name. */
export const roles = ['security.read', 'security.write', 'agents.write'] as const
/** A right of a person over the whole service. Stored by its name, and a scope of the console's tokens. */
export type Role = (typeof roles)[number]

/** Whether a scope of Remit's API is an administrator's. */
export const isRole = (scope: string): scope is Role => roles.some((role) => role === scope)

/** Who administers: rights by account key, granted and taken away on record. */
export interface Administrators {
  /**
   * Adds roles to a subject (`user:anne`), keeping those that it has. Called by the machine's commands only.
   * Refused for a name that is linked to a local account: whoever comes by it is that person.
   */
  add(subject: string, added: readonly Role[]): Promise<readonly Role[]>
  /**
   * Whether they may administer now: the role is theirs, and no name of theirs is disabled. Asked on every
   * request; nothing else makes an administrator.
   */
  has(subject: string, role: Role): Promise<boolean>
  /**
   * The same within a transaction, until whose end nobody takes the answer back: neither the role nor the
   * person.
   */
  keeps(sql: Sql, subject: string, role: Role): Promise<boolean>
  /** What they may administer now. */
  rolesOf(subject: string): Promise<readonly Role[]>
  /**
   * Takes roles back, all of them where none is named, and returns those that are left. Counts from the next
   * request on.
   */
  remove(subject: string, removed?: readonly Role[]): Promise<readonly Role[]>
  /** All roles that were given, those of disabled people too. */
  list(): Promise<readonly { readonly subject: string; readonly roles: readonly Role[] }[]>
}

export interface AdministratorsDeps extends Pick<Runtime, 'sql' | 'clock'> {
  readonly persons: Persons
}

/** Reads rights from the database at each call. Does NOT check who asks. */
export function createAdministrators({ sql, persons, clock }: AdministratorsDeps): Administrators {
  async function rolesNow(transaction: Sql, subject: string, isLocked: boolean): Promise<readonly Role[]> {
    const currentRoles = await storedRoles(transaction, subject, isLocked ? ' for share' : '')
    if (currentRoles.length === 0) return currentRoles
    const names = await persons.namesOf(transaction, subject, { since: new Date(0) })
    if (names.size === 0) return []
    // By itself: a statement that waited for the lock would still see who was disabled before its wait.
    const disabled = await transaction.query<{ key: string; created_at: Date }>(
      `select key, created_at from revocations
       where kind = 'subject' and key = any($1::text[]) and (until is null or until > $2)`,
      [[...names], new Date(clock.now())],
    )
    // Whoever ends the link to a name afterwards is still who was disabled; who ended it before is not.
    for (const { key, created_at: disabledAt } of disabled)
      if ((await persons.namesOf(transaction, subject, { since: disabledAt })).has(key)) return []
    return currentRoles
  }
  return {
    rolesOf: (subject) => rolesNow(sql, subject, false),
    async has(subject, role) {
      return (await rolesNow(sql, subject, false)).includes(role)
    },
    async keeps(transaction, subject, role) {
      return (await rolesNow(transaction, subject, true)).includes(role)
    },
    async add(subject, added) {
      if (!subject.startsWith('user:')) throw invalid('subject', 'Only a user can be an administrator.')
      const person = await persons.linkedTo(sql, subject)
      if (person !== undefined)
        throw invalid('subject', `${subject} is linked to user:${person}. Give the role to user:${person}.`)
      const rows = await sql.query<{ roles: Role[] }>(
        `insert into administrators (subject, roles) values ($1, $2)
         on conflict (subject) do update set roles =
           array(select distinct unnest(administrators.roles || excluded.roles) order by 1)
         returning roles`,
        [subject, [...new Set(added)].sort()],
      )
      return rows[0]?.roles ?? []
    },
    async remove(subject, removed = roles) {
      // Decided by the rows as they are then, not by what was read: a role that is added meanwhile stays.
      await sql.query(
        `with left_over as (
           update administrators set roles = array(select unnest(roles) except select unnest($2::text[]) order by 1)
           where subject = $1 and not roles <@ $2::text[])
         delete from administrators where subject = $1 and roles <@ $2::text[]`,
        [subject, [...removed]],
      )
      return storedRoles(sql, subject, '')
    },
    list: () => sql.query('select subject, roles from administrators order by subject'),
  }
}

async function storedRoles(sql: Sql, subject: string, lock: '' | ' for share'): Promise<readonly Role[]> {
  const text = `select roles from administrators where subject = $1${lock}`
  return (await sql.query<{ roles: Role[] }>(text, [subject]))[0]?.roles ?? []
}
