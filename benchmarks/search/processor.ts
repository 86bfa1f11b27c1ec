import { readFileSync } from 'node:fs'
import type { Place } from './servers.ts'

/**
 * Milliseconds of processor time that this process and the database's own processes for it have taken so far.
 */
export type ProcessorTime = () => number

/**
 * Beside other work a question waits for its turn; what it computes stays the same. Linux tells it of each
 * process, in nanoseconds; the database has to run here. Without that it is this process alone. OpenFGA,
 * which others share, is not in it.
 */
export async function processorTimeOf(
  { database, url }: Place,
  engine: ProcessorTime = () => 0,
): Promise<ProcessorTime> {
  const rows = await database.query<{ pid: number }>(
    `select pid from pg_stat_activity where datname = current_database() and backend_type = 'client backend'`,
  )
  const last = new Map<string, number>()
  const files = url === undefined ? [] : rows.map(({ pid }) => `/proc/${pid}/schedstat`)
  return () => {
    const { user, system } = process.cpuUsage()
    return files.reduce((sum, file) => sum + onProcessor(file, last), (user + system) / 1_000) + engine()
  }
}

/** The first number; of a process that has gone, or is elsewhere, what was last seen. */
function onProcessor(file: string, last: Map<string, number>): number {
  try {
    last.set(file, Number(readFileSync(file, 'utf8').split(' ')[0]) / 1e6)
  } catch {
    // Its connection was closed.
  }
  return last.get(file) ?? 0
}
