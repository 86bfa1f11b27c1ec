import type { Sql } from '../store/sql.ts'
import type { Revision } from './revision.ts'

/** Which revisions a process was at when it ended. */
export interface CrashCounts {
  /**
   * How often the revision was begun and its process ended, in all and alone. Asked before the revision is
   * begun again.
   */
  of(revision: Revision): Promise<Pick<Revision, 'deaths' | 'deathsAlone'>>
  /**
   * Counts a death, and takes it back once `work` has ended. What it resolves with alone was not what ended
   * the process before: that is forgotten. A rejection says nothing of it.
   */
  unlessEnded<T>(revision: Revision, isAlone: boolean, work: () => Promise<T>): Promise<T>
}

/** `processId`: of this process, and of no other one before or beside it. */
export function createCrashCounts(sql: Sql, processId: string): CrashCounts {
  const running = new Set<string>()

  const take = async ({ docNo, revision }: Revision, isAlone: boolean, isCleared = false): Promise<void> => {
    await sql.query(
      `update revisions set deaths = case when $4 = 1 then 0 else greatest(deaths - 1, 0) end,
         deaths_alone = greatest(deaths_alone - $3::int, 0), begun_by = nullif(begun_by, $5)
       where doc_no = $1 and revision = $2`,
      [docNo, revision, isAlone ? 1 : 0, isCleared ? 1 : 0, processId],
    )
  }

  return {
    async of(revision) {
      const { deaths, deathsAlone, begunBy } = revision
      if (begunBy !== processId || running.has(keyOf(revision))) return { deaths, deathsAlone }
      // We live: the database was away when that run ended. It was alone if there had been a death before it.
      const wasAlone = deaths > 1
      await take(revision, wasAlone)
      return { deaths: Math.max(0, deaths - 1), deathsAlone: Math.max(0, deathsAlone - (wasAlone ? 1 : 0)) }
    },
    async unlessEnded(revision, isAlone, task) {
      const key = keyOf(revision)
      running.add(key)
      try {
        await sql.query(
          `update revisions set deaths = deaths + 1, deaths_alone = deaths_alone + $3::int, begun_by = $4
           where doc_no = $1 and revision = $2`,
          [revision.docNo, revision.revision, isAlone ? 1 : 0, processId],
        )
        let isThrough = false
        try {
          const result = await task()
          isThrough = true
          return result
        } finally {
          await take(revision, isAlone, isAlone && isThrough)
        }
      } finally {
        running.delete(key)
      }
    },
  }
}

const keyOf = ({ docNo, revision }: Revision): string => `${docNo} ${revision}`
