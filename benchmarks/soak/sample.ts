import { readdir, readFile } from 'node:fs/promises'
import type { Database } from '../../src/store/sql.ts'
import type { Pair } from '../../test/support/pair.ts'

const processes = ['first', 'second'] as const

/** What grows in a system that leaks, by name. NaN: it could not be seen. */
export type Sample = Readonly<Record<string, number>>

/** Bytes of each table with its indexes. */
export async function tableBytes(database: Database): Promise<ReadonlyMap<string, number>> {
  const rows = await database.query<{ name: string; bytes: string }>(
    `select relname as name, pg_total_relation_size(oid)::text as bytes from pg_class
     where relkind = 'r' and relnamespace = 'public'::regnamespace`,
  )
  return new Map(rows.map(({ name, bytes }) => [name, Number(bytes)]))
}

/** Megabytes, counts, and seconds of now. Linux alone tells the first two. */
export async function sample(pair: Pair, openfgaPid: () => number | undefined): Promise<Sample> {
  const values: Record<string, number> = {}
  await Promise.all([
    ...processes.map(async (name, index) => {
      const { pid } = pair.process(index as 0 | 1)
      values[`${name}: resident MB`] = await residentMb(pid)
      values[`${name}: handles`] = await handles(pid)
      const told = await metrics(`${pair.opsUrls[index]}/metrics`)
      values[`${name}: index lag s`] = told('remit_index_lag_seconds')
      if (index > 0) return
      values['waiting documents'] = told('remit_ingest_waiting')
      values['oldest waiting s'] = told('remit_ingest_waiting_seconds')
      values['oldest unsealed record s'] = told('remit_record_unsealed_seconds')
      values['failed documents'] = told('remit_ingest_failed')
    }),
    (async () => {
      values['OpenFGA: resident MB'] = await residentMb(openfgaPid())
      values['OpenFGA: handles'] = await handles(openfgaPid())
    })(),
    (async () => Object.assign(values, await ofPostgres(pair.database)))(),
  ])
  return values
}

/** The record grows by what is done, and OpenFGA's log by what changes; all else has to stay. */
async function ofPostgres(database: Database): Promise<Sample> {
  const [row] = await database.query<{ all: string; record: string; dead: string; backends: string }>(`
    select pg_database_size(current_database())::text as all,
      (select coalesce(sum(pg_total_relation_size(oid)), 0) from pg_class
        where relkind = 'r' and relname like any('{decision_records,record_%}'))::text as record,
      (select coalesce(sum(n_dead_tup), 0) from pg_stat_user_tables)::text as dead,
      (select count(*) from pg_stat_activity where datname = current_database())::text as backends`)
  const mb = (bytes: string | undefined): number => Number(bytes) / 2 ** 20
  return {
    'database: MB of the record': mb(row?.record),
    'database: MB of all else': mb(row?.all) - mb(row?.record),
    'database: dead rows': Number(row?.dead),
    'database: connections': Number(row?.backends),
  }
}

async function residentMb(pid: number | undefined): Promise<number> {
  const status = await readFile(`/proc/${pid}/status`, 'utf8').catch(() => '')
  return Number(/^VmRSS:\s+(\d+) kB/m.exec(status)?.[1] ?? Number.NaN) / 1_024
}

const handles = (pid: number | undefined): Promise<number> =>
  readdir(`/proc/${pid}/fd`).then(
    ({ length }) => length,
    () => Number.NaN,
  )

async function metrics(url: string): Promise<(name: string) => number> {
  const text = await fetch(url)
    .then((response) => response.text())
    .catch(() => '')
  return (name) => {
    const found = text.match(new RegExp(`^${name}(?:\\{[^}]*\\})? (\\S+)$`, 'gm')) ?? []
    const values = found.map((line) => Number(line.slice(line.lastIndexOf(' ') + 1)))
    return values.length === 0 ? Number.NaN : Math.max(...values)
  }
}
