import { AppError } from '../kernel/errors.ts'
import type { Sql } from '../store/sql.ts'

export const roles = ['security.read', 'security.write', 'agents.write'] as const
export type Role = (typeof roles)[number]

/** Whether a scope of Remit's API is an administrator's. */
export const isRole = (scope: string): scope is Role => roles.some((role) => role === scope)

export interface Administrators {
  /** Adds roles to a subject (`user:anne`), keeping those that it has. Called by the machine's commands only. */
  add(subject: string, added: readonly Role[]): Promise<readonly Role[]>
  /** Asked on every request; nothing else makes an administrator. */
  has(subject: string, role: Role): Promise<boolean>
  /** The same within a transaction, until whose end nobody takes the answer back. */
  keeps(sql: Sql, subject: string, role: Role): Promise<boolean>
  rolesOf(subject: string): Promise<readonly Role[]>
  /** Takes roles back, all of them where none is named, and returns those that are left. Counts from the next request on. */
  remove(subject: string, removed?: readonly Role[]): Promise<readonly Role[]>
  list(): Promise<readonly { readonly subject: string; readonly roles: readonly Role[] }[]>
}

export function createAdministrators({ sql }: { readonly sql: Sql }): Administrators {
  const rolesOf: Administrators['rolesOf'] = async (subject) => {
    const rows = await sql.query<{ roles: Role[] }>('select roles from administrators where subject = $1', [
      subject,
    ])
    return rows[0]?.roles ?? []
  }
  return {
    rolesOf,
    async has(subject, role) {
      return (await rolesOf(subject)).includes(role)
    },
    async keeps(within, subject, role) {
      const rows = await within.query<{ roles: Role[] }>(
        'select roles from administrators where subject = $1 for share',
        [subject],
      )
      return rows[0]?.roles.includes(role) ?? false
    },
    async add(subject, added) {
      if (!subject.startsWith('user:')) {
        throw new AppError('invalid_request', {
          field: 'subject',
          public: 'Only a user can be an administrator.',
        })
      }
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
      const left = (await rolesOf(subject)).filter((role) => !removed.includes(role))
      // Decided by the rows as they are then, not by what was read: a role that is added meanwhile stays.
      await sql.query(
        `with left_over as (
           update administrators set roles = array(select unnest(roles) except select unnest($2::text[]) order by 1)
           where subject = $1 and not roles <@ $2::text[])
         delete from administrators where subject = $1 and roles <@ $2::text[]`,
        [subject, [...removed]],
      )
      return left
    },
    list: () => sql.query('select subject, roles from administrators order by subject'),
  }
}
