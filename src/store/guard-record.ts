import type { Database } from './sql.ts'

/**
 * Hands the record to its own role, where a superuser has provided for that (docker/record-owner.sql), and tells whether
 * this connection could change a record now. Runs at each start: tables that a migration made are handed over too.
 */
export async function guardRecord(database: Database): Promise<{ readonly isInsertOnly: boolean }> {
  if (database.kind === 'pglite') return { isInsertOnly: false }
  const [provided] = await database.query<{ may: boolean }>(
    `select coalesce(has_function_privilege(to_regprocedure('public.remit_guard_record()'), 'execute'), false) as may`,
  )
  if (provided?.may === true) await database.query('select public.remit_guard_record()')
  const [role] = await database.query<{ only: boolean }>(
    `select not rolsuper and not pg_has_role(c.relowner, 'member')
       and not has_table_privilege(c.oid, 'update, delete, truncate') as only
     from pg_roles, pg_class c
     where rolname = current_user and c.oid = 'public.decision_records'::regclass`,
  )
  return { isInsertOnly: role?.only === true }
}
