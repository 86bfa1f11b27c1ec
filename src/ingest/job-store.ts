import type { Job, JobEntry, JobSummary } from '@remit/contract/writes'
import { AppError } from '../kernel/errors.ts'
import { splitObject } from '../kernel/ids.ts'
import type { Sql } from '../store/sql.ts'
import { type Paced, pacedColumns, progressOf, progressToWire } from './job-progress.ts'

/** What jobs are about. `retry`: content that failed and was held. */
export type JobKind = JobSummary['kind']
/** How jobs stand. */
export type JobState = JobSummary['state']

/** A job as its owner sees it: of errors and of notes the first 1,000. */
export interface JobView extends JobSummary, Pick<Job, 'withdrawn' | 'errors'> {
  readonly notes: readonly JobNote[]
}

/** Something that the service should know of an item that did not fail. */
export interface JobNote extends JobEntry {
  readonly code: NoteCode
}

/** The codes of notes; part of the API. */
export type NoteCode =
  | 'superseded'
  | 'stale_version'
  | 'unchanged'
  | 'same_content'
  | 'sensitivity_kept'
  | 'already_over'
  | 'snapshot_not_applied'
  | 'snapshot_applied'

/** The text of each note. */
export const noteTexts: Readonly<Record<NoteCode, string>> = {
  superseded: 'A newer revision of this document was accepted; this one had no effect.',
  stale_version: 'A higher version of this document was accepted before; this one had no effect.',
  unchanged: 'The same content and access are in force: nothing was done.',
  same_content: 'The content is as before: only its title, address, metadata or access changed.',
  sensitivity_kept: 'The change would have ended that this is sensitive; it was marked sensitive itself.',
  already_over: 'Its end is in the past: it gives nobody anything.',
  snapshot_not_applied: 'Nothing was withdrawn.',
  snapshot_applied: 'What was no longer listed was withdrawn.',
}

/** `Idempotency-Key` and the digest of the request that it stands for. */
export interface Idempotency {
  readonly key: string
  readonly digest: string
}

/** A job to store. */
export interface NewJob {
  readonly id: string
  readonly owner: string
  readonly kind: JobKind
  readonly state?: 'open' | 'receiving'
  readonly idempotencyKey?: string
  /** Left out while an import's body is still coming in. */
  readonly digest?: string
}

/** False: the owner's idempotency key was taken by another request at the same moment. */
export async function insertJob(sql: Sql, job: NewJob): Promise<boolean> {
  const rows = await sql.query(
    `insert into jobs (id, owner, kind, state, idempotency_key, digest, items_before, began_in)
     values ($1, $2, $3, $4, $5, $6, (select coalesce(max(item_no), 0) from job_items),
       case when $3 = 'import' then pg_current_snapshot() end)
     on conflict (owner, idempotency_key) do nothing returning 1`,
    [job.id, job.owner, job.kind, job.state ?? 'open', job.idempotencyKey ?? null, job.digest ?? null],
  )
  return rows.length > 0
}

/**
 * The job that an idempotency key already stands for, or undefined. Throws `idempotency_mismatch` for another
 * request under the same key, `conflict` while the first one's body is still coming in.
 */
export async function findJob(
  sql: Sql,
  owner: string,
  { key, digest }: Idempotency,
): Promise<string | undefined> {
  const [row] = await sql.query<{ id: string; digest: string | null }>(
    'select id, digest from jobs where owner = $1 and idempotency_key = $2',
    [owner, key],
  )
  if (row === undefined) return undefined
  if (row.digest === null)
    throw new AppError('conflict', { public: 'The first request with this key is still coming in.' })
  if (row.digest !== digest) throw new AppError('idempotency_mismatch')
  return row.id
}

/** An item to store with its job. */
export interface NewItem {
  readonly jobId: string
  readonly line?: number
  readonly documentId?: string
  readonly state: 'queued' | 'done' | 'failed'
  readonly code?: string
  readonly field?: string
  readonly detail?: string
}

/**
 * Failures of a job that are told, and notes of it. Of what fails before it is accepted no more are kept than
 * are told.
 */
export const toldMax = 1_000

/**
 * Adds an item and counts it. Returns its number; 0 for a failure that is counted alone, since so many are
 * kept already.
 */
export async function insertItem(sql: Sql, newItem: NewItem): Promise<number> {
  const [row] = await sql.query<{ item_no: number }>(
    `with counted as (
       update jobs set total = total + 1, done = done + ($4 = 'done')::int, failed = failed + ($4 = 'failed')::int
       where id = $1)
     insert into job_items (job_id, line, document_id, state, code, field, detail)
     select $1::text, $2::int, $3::text, $4::text, $5::text, $6::text, $7::text
     where $4 <> 'failed' or (select failed from jobs where id = $1) < $8
     returning item_no`,
    [
      newItem.jobId,
      newItem.line ?? null,
      newItem.documentId ?? null,
      newItem.state,
      newItem.code ?? null,
      newItem.field ?? null,
      newItem.detail ?? null,
      toldMax,
    ],
  )
  return row?.item_no ?? 0
}

/** An item that waits to be taken in; others of its job have other documents. */
export interface QueuedItem {
  readonly line: number | undefined
  readonly documentId: string
  readonly code: string | undefined
}

/** Adds items that wait, and counts them. Returns their numbers, in their order. */
export async function insertQueuedItems(
  sql: Sql,
  jobId: string,
  items: readonly QueuedItem[],
): Promise<readonly number[]> {
  const rows = await sql.query<{ document_id: string; item_no: number }>(
    `with counted as (update jobs set total = total + $5 where id = $1)
     insert into job_items (job_id, line, document_id, state, code)
     select $1, line, document_id, 'queued', code
     from unnest($2::int[], $3::text[], $4::text[]) with ordinality as i (line, document_id, code, nth) order by nth
     returning document_id, item_no`,
    [
      jobId,
      items.map(({ line }) => line ?? null),
      items.map(({ documentId }) => documentId),
      items.map(({ code }) => code ?? null),
      items.length,
    ],
  )
  const numberByDocument = new Map(rows.map(({ document_id, item_no }) => [document_id, item_no]))
  return items.map(({ documentId }) => {
    const number = numberByDocument.get(documentId)
    if (number === undefined) throw new Error('The item of a document was not written.')
    return number
  })
}

/** Counts failures of which nothing is kept. */
export async function countFailed(sql: Sql, jobId: string, count: number): Promise<void> {
  await sql.query('update jobs set total = total + $2, failed = failed + $2 where id = $1', [jobId, count])
}

/** Items of a job that are not done. */
export async function countWaiting(sql: Sql, jobId: string): Promise<number> {
  const [row] = await sql.query<{ waiting: number }>(
    'select total - done - failed as waiting from jobs where id = $1',
    [jobId],
  )
  return row?.waiting ?? 0
}

/** How an item ended. */
export interface Outcome {
  readonly state: 'done' | 'failed'
  readonly code?: string
  readonly detail?: string
}

/** Ends items once; a second call changes nothing. Returns their jobs, to wake who waits for them. */
export async function finishItems(
  sql: Sql,
  itemNos: readonly number[],
  { state, code, detail }: Outcome,
): Promise<readonly string[]> {
  const rows = await sql.query<{ job_id: string; items: number }>(
    `with ended as (
       update job_items set state = $2, code = coalesce($3, code), detail = coalesce($4, detail)
       where item_no = any($1::bigint[]) and state = 'queued' returning job_id
     )
     select job_id, count(*)::int as items from ended group by job_id order by job_id`,
    [itemNos, state, code ?? null, detail ?? null],
  )
  if (rows.length === 0) return []
  const jobs = rows.map(({ job_id }) => job_id)
  await sql.query(
    `update jobs j set done = j.done + case when $3 = 'done' then e.items else 0 end,
       failed = j.failed + case when $3 = 'failed' then e.items else 0 end
     from (select id from jobs where id = any($1) order by id for update) as locked
     join unnest($1::text[], $2::int[]) as e (job_id, items) on e.job_id = locked.id where j.id = locked.id`,
    [jobs, rows.map(({ items }) => items), state],
  )
  return jobs
}

/** As {@link finishItems}, of one item. */
export const finishItem = async (sql: Sql, itemNo: number, outcome: Outcome): Promise<string | undefined> =>
  (await finishItems(sql, [itemNo], outcome))[0]

interface JobRow extends Paced {
  readonly owner: string
  readonly kind: JobKind
  readonly createdAt: Date
  readonly state: 'receiving' | 'open' | 'broken'
  readonly notes: readonly JobNote[]
  readonly withdrawn: number
}

interface ToldRow {
  readonly line: number | null
  readonly document_id: string | null
  readonly state: 'queued' | 'done' | 'failed'
  readonly code: string
  readonly field: string | null
  readonly detail: string | null
}

/**
 * Reads a job for its owner; without one for whoever may know of all. Anybody else gets what a missing one
 * gets: undefined. `now` is in milliseconds.
 */
export async function readJob(
  sql: Sql,
  id: string,
  owner: string | undefined,
  now: number,
): Promise<JobView | undefined> {
  const [job] = await sql.query<JobRow>(
    // What a snapshot withdraws has no line, and every line has one.
    `select owner, kind, created_at as "createdAt", state, total, done, failed, notes, ${pacedColumns},
       case when kind in ('document', 'retry') then 0 else
         (select count(*)::int from job_items where job_id = $1 and line is null and state = 'done') end as withdrawn
     from jobs where id = $1 and ($2::text is null or owner = $2)`,
    [id, owner ?? null],
  )
  if (job === undefined) return undefined
  const reported = await sql.query<ToldRow>(
    `(select line, document_id, state, code, field, detail, item_no from job_items
      where job_id = $1 and code is not null and state = 'failed' order by item_no limit $2)
     union all
     (select line, document_id, state, code, field, detail, item_no from job_items
      where job_id = $1 and code is not null and state <> 'failed' order by item_no limit $2)
     order by line nulls last, item_no`,
    [id, toldMax],
  )
  const { total, done: doneCount, failed, withdrawn } = job
  return {
    id,
    service: splitObject(job.owner).id,
    kind: job.kind,
    state: stateOf(job),
    created_at: job.createdAt.toISOString(),
    done: doneCount,
    failed,
    total,
    ...progressToWire(progressOf(job, now)),
    withdrawn,
    errors: reported.filter(({ state }) => state === 'failed').map(toError),
    notes: [...job.notes, ...reported.filter(({ state }) => state !== 'failed').map(toNote)],
  }
}

/** The state that is told of a row of `jobs`. */
export function stateOf({
  state,
  total,
  done: doneCount,
  failed,
}: Pick<JobRow, 'state' | 'total' | 'done' | 'failed'>): JobState {
  if (state === 'broken') return 'failed'
  if (state === 'receiving' || doneCount + failed < total)
    return doneCount + failed > 0 ? 'running' : 'queued'
  return failed > 0 && doneCount === 0 ? 'failed' : 'done'
}

const toError = ({ line, document_id, code, field, detail }: ToldRow): JobEntry => ({
  ...(line !== null && { line }),
  ...(document_id !== null && { id: document_id }),
  code,
  ...(field !== null && { field }),
  detail: detail ?? '',
})

const toNote = ({ line, document_id, code }: ToldRow): JobNote => ({
  ...(line !== null && { line }),
  ...(document_id !== null && { id: document_id }),
  code: code as NoteCode,
  detail: noteTexts[code as NoteCode] ?? '',
})

// Another process may have ended it: nobody wakes us then.
const pollMs = 500

const hasEnded = ({ state }: JobView): boolean => state === 'done' || state === 'failed'

/** Lets a request wait for a job without asking the database all the time. */
export function createJobWaiter() {
  const waiting = new Map<string, Set<() => void>>()

  function nextChange(jobId: string, signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const wakers = waiting.get(jobId) ?? new Set()
      waiting.set(jobId, wakers)
      const wake = (): void => {
        clearTimeout(timer)
        signal.removeEventListener('abort', wake)
        wakers.delete(wake)
        if (wakers.size === 0) waiting.delete(jobId)
        resolve()
      }
      const timer = setTimeout(wake, pollMs)
      signal.addEventListener('abort', wake)
      wakers.add(wake)
    })
  }

  return {
    /** Wakes who waits for this job. */
    changed(jobId: string): void {
      for (const wake of waiting.get(jobId) ?? []) wake()
    },
    /** Reads until the job has ended or the signal fires, and returns the last reading. */
    async wait(jobId: string, read: () => Promise<JobView | undefined>, signal: AbortSignal) {
      for (;;) {
        // Listens before it reads: a change in between must not be missed.
        const change = nextChange(jobId, signal)
        const job = await read()
        if (job === undefined || hasEnded(job) || signal.aborted) {
          for (const wake of waiting.get(jobId) ?? []) wake()
          await change
          return job
        }
        await change
      }
    },
  }
}
