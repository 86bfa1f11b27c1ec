import type { Sql } from '../store/sql.ts'
import { keysOf, type Revision } from './revision.ts'

/** Which revisions a process was at when it ended. */
export interface CrashCounts {
  /**
   * How often each revision was begun and its process ended, in all and alone, in their order. Asked before
   * the revisions are begun again.
   */
  of(revisions: readonly Revision[]): Promise<readonly Pick<Revision, 'deaths' | 'deathsAlone'>[]>
  /** Counts a death of each, before they are begun. */
  begin(revisions: readonly Revision[], isAlone: boolean): Promise<void>
  /**
   * Takes the deaths back: they ended, and the process lives. `isThrough`: what was alone and came to an end
   * of its own was not what ended the process before, which is forgotten. A failure says nothing of it.
   */
  end(revisions: readonly Revision[], how: { isAlone: boolean; isThrough: boolean }): Promise<void>
}

/** `processId`: of this process, and of no other one before or beside it. */
export function createCrashCounts(sql: Sql, processId: string): CrashCounts {
  const running = new Set<string>()

  const take = async (
    revisions: readonly Revision[],
    isAlone: boolean,
    isCleared: boolean,
  ): Promise<void> => {
    await sql.query(
      `update revisions r set deaths = case when $4 = 1 then 0 else greatest(deaths - 1, 0) end,
         deaths_alone = greatest(deaths_alone - $3::int, 0), begun_by = nullif(begun_by, $5)
       from unnest($1::int[], $2::bigint[]) as of (doc_no, revision)
       where r.doc_no = of.doc_no and r.revision = of.revision`,
      [...keysOf(revisions), isAlone ? 1 : 0, isCleared ? 1 : 0, processId],
    )
  }

  return {
    async of(revisions) {
      const counts: Pick<Revision, 'deaths' | 'deathsAlone'>[] = []
      for (const revision of revisions) {
        const { deaths, deathsAlone, begunBy } = revision
        if (begunBy !== processId || running.has(keyOf(revision))) {
          counts.push({ deaths, deathsAlone })
          continue
        }
        // We live: the database was away when that run ended. It was alone if there had been a death before
        // it.
        const wasAlone = deaths > 1
        await take([revision], wasAlone, false)
        counts.push({
          deaths: Math.max(0, deaths - 1),
          deathsAlone: Math.max(0, deathsAlone - (wasAlone ? 1 : 0)),
        })
      }
      return counts
    },
    async begin(revisions, isAlone) {
      for (const revision of revisions) running.add(keyOf(revision))
      try {
        await sql.query(
          `update revisions r set deaths = deaths + 1, deaths_alone = deaths_alone + $3::int, begun_by = $4
           from unnest($1::int[], $2::bigint[]) as of (doc_no, revision)
           where r.doc_no = of.doc_no and r.revision = of.revision`,
          [...keysOf(revisions), isAlone ? 1 : 0, processId],
        )
      } catch (error) {
        for (const revision of revisions) running.delete(keyOf(revision))
        throw error
      }
    },
    async end(revisions, { isAlone, isThrough }) {
      if (revisions.length === 0) return
      try {
        await take(revisions, isAlone, isAlone && isThrough)
      } finally {
        for (const revision of revisions) running.delete(keyOf(revision))
      }
    },
  }
}

const keyOf = ({ docNo, revision }: Revision): string => `${docNo} ${revision}`
