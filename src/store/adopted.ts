import type { Sql } from './sql.ts'

const key = 'tuples_adopted'

/** Whether `desired_tuples` speaks for members of groups and organizations and for who writes where. */
export async function isAllAdopted(sql: Sql): Promise<boolean> {
  return (await sql.query('select from settings where key = $1', [key])).length > 0
}

/** From now on it does, and what has no row is drift. */
export async function endAdoption(sql: Sql): Promise<void> {
  await sql.query(`insert into settings (key, value) values ($1, 'true') on conflict do nothing`, [key])
}

/** It does not any more: OpenFGA knows better, and all is adopted anew at the next start. */
export async function beginAdoption(sql: Sql): Promise<void> {
  await sql.query('delete from settings where key = $1', [key])
}
