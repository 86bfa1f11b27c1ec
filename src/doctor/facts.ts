import { readUnsealed } from '../audit/seal/lag.ts'
import { readPin, readVersion } from '../authz/model/pin.ts'
import { readLastBackup } from '../backup/last.ts'
import { readDirectoryTotals } from '../directory/reading/totals.ts'
import { readStock } from '../ingest/stock.ts'
import { readSourceTotals } from '../sources/rows.ts'
import { isInsertOnly, restoreMark } from '../store/migrate.ts'
import type { Database } from '../store/sql.ts'

/** What the database tells of itself and of the service. Nothing of a single document or person. */
export type Facts = Awaited<ReturnType<typeof readFacts>>

/** Names of migrations that ran, for {@link readFacts} asks only tables of this version. */
export const readMigrations = async (database: Database): Promise<readonly string[]> => {
  const [known] = await database.query<{ there: boolean }>(
    `select to_regclass('public.migrations') is not null as there`,
  )
  if (known?.there !== true) return []
  const rows = await database.query<{ name: string }>('select name from migrations order by name')
  return rows.map(({ name }) => name)
}

/** Whether a restore that died left its mark: then the database has nothing else, or nothing whole. */
export const isRestoreUnderWay = async (database: Database): Promise<boolean> => {
  const [left] = await database.query<{ there: boolean }>(
    `select to_regclass('public.${restoreMark}') is not null as there`,
  )
  return left?.there === true
}

/** The clock of the database, in milliseconds. */
export const readClock = async (database: Database): Promise<number> => {
  const [row] = await database.query<{ ms: number }>(
    'select (extract(epoch from clock_timestamp()) * 1000)::float8 as ms',
  )
  return row?.ms ?? Number.NaN
}

/** Reads all of it, and changes nothing. The tables have to be of this version. */
export async function readFacts(database: Database) {
  const [server] = await database.query<{
    version: string
    pgvector: string | null
    superuser: boolean
    ownsDatabase: boolean
    processes: number
    restored: boolean
    sample: boolean
    accounts: number
    failure: string | null
    brokenIndexes: string | null
    building: number
    withoutVector: number
    standing: number
    failedDocuments: number
    unreconciled: number
    besideSources: string | null
  }>(
    `select current_setting('server_version') as version,
       (select extversion from pg_extension where extname = 'vector') as pgvector,
       (select rolsuper from pg_roles where rolname = current_user) as superuser,
       (select pg_has_role(datdba, 'member') from pg_database where datname = current_database()) as "ownsDatabase",
       (select count(distinct application_name)::float8 from pg_stat_activity
        where datname = current_database() and application_name ~ '^remit [0-9a-f]{8}-') as processes,
       (select restored is not null or recovering_since is not null or log_went_back from epochs) as restored,
       exists (select from settings where key = 'sample_seeded') as sample,
       (select count(*)::float8 from connections) as accounts,
       (select failure from backup_run) as failure,
       (select string_agg(indexrelid::regclass::text, ', ') from pg_index
        where not indisvalid and indrelid in (select oid from pg_class where relnamespace = 'public'::regnamespace)
       ) as "brokenIndexes",
       (select count(*)::float8 from pg_stat_progress_create_index where datname = current_database()) as building,
       (select count(*)::float8 from chunks where embedding is null) as "withoutVector",
       (select count(*)::float8 from jobs where state = 'open' and done + failed < total
          and coalesce(paced_at, created_at) < now() - interval '1 hour') as standing,
       (select count(*)::float8 from failed_documents f
        join documents d on d.doc_no = f.doc_no and d.accepted_revision = f.revision) as "failedDocuments",
       (select count(*)::float8 from unreconciled where since < now() - interval '1 hour') as unreconciled,
       (select string_agg(distinct who || ' in collection:' || own, ', ')
        from sources s cross join unnest(s.collections) as own cross join lateral (
          select 'service:' || name as who from services where own = any(collections)
          union all select subject from desired_tuples
            where object = 'collection:' || own and relation in ('writer', 'tagger')) as writers
        where s.state in ('active', 'paused') and who <> 'service:source/' || s.id) as "besideSources"`,
  )
  if (server === undefined) throw new Error('the database says nothing of itself')
  const pin = await readPin(database)
  const model = pin && (await readVersion(database, pin.model_id))
  return {
    ...server,
    kind: database.kind,
    insertOnly: await isInsertOnly(database),
    store: pin?.store_id,
    model: model?.id,
    backup: await readLastBackup(database),
    stock: await readStock(database),
    unsealed: await readUnsealed(database),
    sources: await readSourceTotals(database),
    directories: await readDirectoryTotals(database),
  }
}
