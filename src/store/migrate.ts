import { readdir, readFile } from 'node:fs/promises'
import type { Log } from '../kernel/log.ts'
import { OperatorError } from '../kernel/operator-error.ts'
import { version } from '../kernel/version.ts'
import type { Database, Sql } from './sql.ts'

/** The folder of migrations, and the dimensions of vectors. */
export interface MigrateOptions {
  /** Folder of `NNNN_name.sql` files; forward only. */
  readonly dir: URL
  /** Numbers in a vector; fixed at the first migration. */
  readonly dimensions: number
  /**
   * Whether a copy of an earlier version is changed, on which that version then starts no more. Left out: not
   * one that `remit restore` made. false: none is, since whoever says so knows that it is a copy.
   */
  readonly upgradesCopy?: boolean | undefined
  /** Told once, with `database_upgraded`, where an earlier version's tables changed, also before a throw. */
  readonly log?: Log | undefined
}

/**
 * Brings the schema up to date, one transaction a file, and returns the names applied now. Throws
 * OperatorError where a file changes what belongs to the record's owner, and that has not been handed back
 * for it; where a file was applied that is not here: the tables are a newer version's; where a restore has
 * not ended; and where it would change a copy that it was not told to.
 */
export async function migrate(
  database: Database,
  { dir, dimensions, upgradesCopy, log }: MigrateOptions,
): Promise<string[]> {
  const [left] = await database.query<{ begun: string | null }>(
    `select to_regclass('public.${restoreMark}')::text as begun`,
  )
  if (left !== undefined && left.begun !== null) throw halfRestored()
  await database.query(
    'create table if not exists migrations (name text primary key, applied_at timestamptz not null default now())',
  )
  const files = (await readdir(dir)).filter((name) => /^\d{4}_.*\.sql$/.test(name)).sort()
  // Most starts find nothing to do, and ask for no lock then.
  const before = await storedNames(database, files)
  const newest = before.length < files.length ? before.at(-1) : undefined
  const from = newest && (await versionOf(database, newest))
  if (newest !== undefined && !(upgradesCopy ?? !(await isCopy(database)))) throw earlierCopy(from)
  const applied: string[] = []
  try {
    for (const name of files) {
      if (before.includes(name)) continue
      const text = fill(await readFile(new URL(name, dir), 'utf8'), database.vectorType, dimensions)
      const applying = async (sql: Sql): Promise<boolean> => {
        // Two processes may start at once on native Postgres: the second waits here, then finds the row.
        if (database.kind === 'postgres') await sql.query('lock table migrations in exclusive mode')
        if ((await storedNames(sql, files)).includes(name)) return false
        await sql.query(text).catch((error: unknown) => {
          throw isRefused(error) ? handBack(name, error) : error
        })
        // Before the file that makes the column there is none.
        if (name < versioned) await sql.query('insert into migrations (name) values ($1)', [name])
        else await sql.query('insert into migrations (name, version) values ($1, $2)', [name, version])
        return true
      }
      // Rewriting a large table takes longer than a request may.
      if (await database.transaction(applying, { msMax: Infinity })) applied.push(name)
    }
  } finally {
    // Also of a start that fails half way: the next one finds its version in place of the earlier.
    if (newest !== undefined && applied.length > 0)
      log?.('database_upgraded', { from: from ?? null, to: version, files: applied.length })
  }
  return applied
}

const versioned = '0128_migrations_version.sql'

/** What was applied. Throws where that is not among `files`. */
async function storedNames(sql: Sql, files: readonly string[]): Promise<readonly string[]> {
  const rows = await sql.query<{ name: string }>('select name from migrations order by name')
  const stored = rows.map((row) => row.name)
  const unknown = stored.findLast((one) => !files.includes(one))
  if (unknown !== undefined) throw newer(unknown, await versionOf(sql, unknown))
  return stored
}

async function versionOf(sql: Sql, name: string): Promise<string | undefined> {
  const [row] = await sql.query<{ version: string | null }>(
    `select to_jsonb(m) ->> 'version' as version from migrations m where name = $1`,
    [name],
  )
  return row?.version ?? undefined
}

/** Whether `remit restore` made it, and nobody has recovered it. */
async function isCopy(sql: Sql): Promise<boolean> {
  const [epochs] = await sql.query<{ there: boolean }>(
    `select to_regclass('public.epochs') is not null as there`,
  )
  if (epochs?.there !== true) return false
  const [row] = await sql.query<{ restored: string | null }>(
    // An earlier version's table may lack the column.
    `select to_jsonb(e) ->> 'restored' as restored from epochs e`,
  )
  return row !== undefined && row.restored !== null
}

/** The table that a restore leaves where it died. */
export const restoreMark = 'restore_under_way'

const halfRestored = (): OperatorError =>
  new OperatorError(
    'A restore of this database was begun and has not ended. Run `remit restore` with the same archive again: docs/recovery.md.',
  )

const earlierCopy = (by: string | undefined): OperatorError =>
  new OperatorError(
    `The tables are those of ${by === undefined || by === version ? 'an earlier version of Remit' : `Remit ${by}`}, and nothing was changed. To go back to that version, use its own commands. To go on with ${version}, start the service, or of a copy run \`remit recover --upgrade\` with the flags that you need: then no earlier version starts on them any more (docs/versions.md).`,
  )

const newer = (name: string, by: string | undefined): OperatorError =>
  new OperatorError(
    `The database belongs to ${by === undefined ? 'a newer version of Remit' : `Remit ${by}`}: its tables were changed by ${name}, which this version (${version}) does not have. Start ${by === undefined ? 'that version' : `Remit ${by} or newer`}. To go back to ${version}, restore what was backed up before the upgrade: docs/recovery.md.`,
  )

// insufficient_privilege
const isRefused = (error: unknown): boolean =>
  error instanceof Error && 'code' in error && error.code === '42501'

const handBack = (name: string, error: unknown): OperatorError =>
  new OperatorError(
    `${name} changes what belongs to the owner of the record (${error instanceof Error ? error.message : 'refused'}). Nothing of it was done. With the service stopped, run docker/record-owner.sql once more as a superuser, then start again: docs/audit.md, "Upgrading".`,
    error,
  )

const fill = (text: string, vectorType: string, dimensions: number): string =>
  text.replaceAll(':vector', vectorType).replaceAll(':dimensions', String(dimensions))

/**
 * Hands the record to its own role, where a superuser has provided for that (docker/record-owner.sql), and
 * tells whether this connection could change a record now. Runs at each start: tables that a migration made
 * are handed over too.
 */
export async function guardRecord(database: Database): Promise<{ readonly isInsertOnly: boolean }> {
  if (database.kind === 'pglite') return { isInsertOnly: false }
  const [provided] = await database.query<{ may: boolean }>(
    `select coalesce(has_function_privilege(to_regprocedure('public.remit_guard_record()'), 'execute'), false) as may`,
  )
  if (provided?.may === true) await database.query('select public.remit_guard_record()')
  return { isInsertOnly: await isInsertOnly(database) }
}

/** Whether this connection could add records and nothing else. Changes nothing. */
export async function isInsertOnly(database: Database): Promise<boolean> {
  if (database.kind === 'pglite') return false
  const [role] = await database.query<{ only: boolean }>(
    `select not rolsuper and not pg_has_role(c.relowner, 'member')
       and not has_table_privilege(c.oid, 'update, delete, truncate') as only
     from pg_roles, pg_class c
     where rolname = current_user and c.oid = 'public.decision_records'::regclass`,
  )
  return role?.only === true
}
