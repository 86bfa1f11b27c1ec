import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type JobFilter, listJobs, listJobsBy } from '../../src/ingest/job-list.ts'
import type { Database } from '../../src/store/sql.ts'
import { openTestDatabase } from '../support/database.ts'

interface Stored extends Pick<JobFilter, 'kind'> {
  readonly id: string
  readonly owner: string
  readonly state: string
  readonly total: number
  readonly done: number
  readonly failed: number
}

describe('the list of 100,000 jobs', () => {
  let database: Database
  let all: readonly Stored[]
  beforeAll(async () => {
    database = await openTestDatabase()
    // Every thousandth failed, and those are the oldest; all else is done.
    await database.query(
      `insert into jobs (id, owner, kind, state, total, done, failed, created_at)
       select 'j_' || n, 'service:' || case when n % 7 = 0 then 'few' else 'many' end,
         case when n % 5000 = 0 then 'retry' else 'document' end, 'open', 1, 1 - (n > 99900)::int, (n > 99900)::int,
         now() - n * interval '1 second' from generate_series(1, 100000) n`,
    )
    await database.query(
      `insert into jobs (id, owner, kind, state, total, done, created_at)
       values ('j_q', 'service:many', 'import', 'open', 1, 0, now() - interval '3 days'),
         ('j_r', 'service:few', 'import', 'receiving', 2, 1, now() - interval '4 days'),
         ('j_b', 'service:few', 'import', 'broken', 2, 2, now() - interval '5 days')`,
    )
    await database.query('analyze jobs')
    all = await database.query(
      'select id, owner, kind, state, total, done, failed from jobs order by created_at desc, id desc',
    )
  }, 60_000)
  afterAll(() => database.close())

  const filters: readonly JobFilter[] = [undefined, 'service:few'].flatMap((owner) => [
    { owner },
    ...(['queued', 'running', 'done', 'failed'] as const).map((state) => ({ owner, state })),
    ...(['document', 'retry', 'withdrawal'] as const).map((kind) => ({ owner, kind })),
    { owner, state: 'failed', kind: 'import' } as const,
  ])

  test.each(filters)('reads no more than a page of jobs that it does not show: %o', async (filter) => {
    const [text, values] = listJobsBy(filter, undefined, 51)
    const rows = await database.query<Record<string, string>>(
      `explain (analyze, costs off, timing off, summary off) ${text}`,
      values,
    )
    const plan = rows.map((row) => row['QUERY PLAN']).join('\n')
    expect(plan).not.toContain('Seq Scan on jobs')
    // Where most jobs of a state are one's own, passing over the few others costs nothing.
    const passedOver = [...plan.matchAll(/Rows Removed by Filter: (\d+)/g)].map(([, rows]) => Number(rows))
    expect(Math.max(0, ...passedOver)).toBeLessThanOrEqual(500)
    expect(plan).toMatch(/Index Scan using jobs_filtered(_of)? on jobs/)
  })

  test.each(filters)('gives each job once, newest first, page by page: %o', async (filter) => {
    const told: string[] = []
    let cursor: string | undefined
    for (let page = 0; page < 3; page++) {
      const found = await listJobs(database, filter, { cursor, limit: 40 }, Date.now())
      told.push(...found.jobs.map(({ id }) => id))
      cursor = found.cursor
      if (cursor === undefined) break
    }
    const { owner, state, kind } = filter
    const stateOf = (job: Stored): string => {
      if (job.state === 'broken' || (job.failed > 0 && job.done === 0)) return 'failed'
      if (job.id === 'j_q') return 'queued'
      return job.id === 'j_r' ? 'running' : 'done'
    }
    const expected = all
      .filter((job) => owner === undefined || job.owner === owner)
      .filter((job) => kind === undefined || job.kind === kind)
      .filter((job) => state === undefined || stateOf(job) === state)
      .map(({ id }) => id)
    expect(told).toEqual(expected.slice(0, 120))
  })
})
