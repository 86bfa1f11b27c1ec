import { readFile, writeFile } from 'node:fs/promises'
import { Session } from 'node:inspector/promises'
import type { Sql } from '../../src/store/sql.ts'

/** Milliseconds of processor that were spent so far. */
export interface Spent {
  readonly node: number
  /** Of the database's connections, where its server runs on this machine under Linux; else NaN. */
  readonly postgres: number
}

export async function spentSoFar(sql: Sql): Promise<Spent> {
  const { user, system } = process.cpuUsage()
  const backends = await sql.query<{ pid: number }>(
    'select pid from pg_stat_activity where datname = current_database()',
  )
  const each = await Promise.all(backends.map(({ pid }) => spentBy(pid)))
  return { node: (user + system) / 1_000, postgres: each.reduce((sum, ms) => sum + ms, 0) }
}

// Its first number is nanoseconds on a processor (proc(5), Documentation/scheduler/sched-stats.rst).
const spentBy = async (pid: number): Promise<number> =>
  Number((await readFile(`/proc/${pid}/schedstat`, 'utf8').catch(() => 'NaN')).split(' ')[0]) / 1e6

/** Profiles this process while `work` runs; what comes out opens in Chromium's developer tools. */
export async function profiled<T>(file: string, work: () => Promise<T>): Promise<T> {
  const session = new Session()
  session.connect()
  await session.post('Profiler.enable')
  await session.post('Profiler.setSamplingInterval', { interval: 200 })
  await session.post('Profiler.start')
  try {
    return await work()
  } finally {
    const { profile } = await session.post('Profiler.stop')
    session.disconnect()
    await writeFile(file, JSON.stringify(profile))
  }
}
