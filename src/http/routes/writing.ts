import { z } from '@hono/zod-openapi'
import type { Ingest } from '../../ingest/ingest.ts'
import type { JobNote, JobView } from '../../ingest/job-store.ts'
import { isNoOlderThan } from '../../kernel/clock.ts'
import { AppError, invalid } from '../../kernel/errors.ts'
import type { FgaObject } from '../../kernel/ids.ts'
import type { Principal } from '../../kernel/principal.ts'
import type { AppContext } from '../env.ts'
import { answerOf, json, objectOf } from '../schemas.ts'

/** What the routes that write have in common: jobs, `Prefer: wait`, `Idempotency-Key`, administrators. */

/** How jobs stand. */
export const jobState = z.enum(['queued', 'running', 'done', 'failed'])

/** What jobs are about. */
export const jobKind = z.enum(['document', 'withdrawal', 'import', 'retry'])

/** What is said of a job, alone or in a list. */
export const jobMembers = {
  id: z.string(),
  service: z.string().openapi({ description: 'Whose it is.' }),
  kind: jobKind,
  state: jobState,
  created_at: z.string(),
  done: z.int(),
  failed: z.int(),
  queued: z.int().openapi({ description: 'How many were accepted and have not ended.' }),
  total: z.int(),
  rate: z
    .number()
    .optional()
    .openapi({ description: 'How many ended in a second, of late. Left out where it is not known.' }),
  estimated_end: z
    .string()
    .optional()
    .openapi({ description: 'When all will have ended at this rate. Left out where it is not known.' }),
} as const

/** A job as its owner sees it. */
export const jobSchema = objectOf('Job', {
  ...jobMembers,
  withdrawn: z.int().openapi({ description: 'How many of those done were withdrawn.' }),
  errors: z.array(
    z.strictObject({
      line: z.int().optional(),
      id: z.string().optional(),
      code: z.string(),
      field: z.string().optional(),
      detail: z.string(),
    }),
  ),
  notes: z.array(
    z.strictObject({
      line: z.int().optional(),
      id: z.string().optional(),
      code: z.string(),
      detail: z.string(),
    }),
  ),
})

/** What a change kept or did beside what was asked. */
export const notesSchema = z.array(
  z.strictObject({ id: z.string().optional(), code: z.string(), detail: z.string() }),
)

/** Notes of a job as JSON. */
export const notesToWire = (notes: readonly JobNote[]): z.output<typeof notesSchema> =>
  notes.map(({ id, code, detail }) => ({ ...(id !== undefined && { id }), code, detail }))

/** Answer with a finished job, or with its state. */
export const jobAnswer = answerOf('JobAnswer', { job: jobSchema })

/** Answer with the id of a job that goes on. */
export const acceptedAnswer = answerOf('AcceptedAnswer', { job: z.strictObject({ id: z.string() }) })

/** The responses of every route that starts a job. */
export const jobResponses = {
  200: json('Done, as `Prefer: wait` asked', jobAnswer),
  202: json('Accepted; what takes access away is in force already', acceptedAnswer),
}

const waitSecondsMax = 30

/** How long `Prefer: wait` or `wait=N` (RFC 7240) asks to wait, in milliseconds; undefined without it. */
export function preferredWait(header: string | undefined): number | undefined {
  for (const preference of (header ?? '').split(',')) {
    const [name = '', value] = (preference.split(';')[0] ?? '').split('=').map((segment) => segment.trim())
    if (name.toLowerCase() !== 'wait') continue
    const seconds = value === undefined ? waitSecondsMax : Number(value.replaceAll('"', ''))
    if (Number.isFinite(seconds) && seconds >= 0) return Math.min(seconds, waitSecondsMax) * 1_000
  }
  return undefined
}

/** The key under which the same request is done once; a 422 for one that is empty or too long. */
export function idempotencyKeyOf(c: AppContext): string | undefined {
  const key = c.req.header('idempotency-key')
  if (key === undefined) return undefined
  if (!/^[\x21-\x7e]{1,200}$/.test(key))
    throw invalid('Idempotency-Key', 'Must be 1 to 200 visible ASCII characters.')
  return key
}

/**
 * 202 with the job's id, or 200 with the whole job where the client waits and it ends in time. `content`: the
 * member that held it, or that named it, which is named where it cannot be read. `owner`: whose job it is, by
 * default the caller's.
 */
export async function answerJob(
  c: AppContext,
  ingest: Ingest,
  jobId: string,
  content: 'text' | 'content_base64' | 'id' = 'text',
  owner: FgaObject = c.get('principal').subject,
) {
  const txn = c.get('txn')
  const ended = await endedInTime(c, ingest, jobId, owner)
  if (ended === undefined) return c.json({ job: { id: jobId }, txn }, 202)
  // Whoever waits for one document looks at the status: content that cannot be read is a refusal.
  const [error] = ended.errors
  if (ended.total === 1 && ended.state === 'failed' && error !== undefined) throw refusalOf(error, content)
  return c.json({ job: toWire(ended), txn }, 200)
}

function refusalOf({ code, field, detail }: JobView['errors'][number], content: string): AppError {
  // A line of an import may be refused for whom it names, before anybody reads its content.
  if (code === 'forbidden' || code === 'conflict')
    return new AppError(code, { public: detail, ...(field !== undefined && { field }) })
  if (code === 'unsupported_media_type') return new AppError(code, { public: detail })
  if (code === 'too_large') return new AppError('payload_too_large', { public: detail })
  return invalid(field ?? content, detail)
}

/** The job, where the client waits and it ends in time. */
async function endedInTime(
  c: AppContext,
  ingest: Ingest,
  jobId: string,
  owner: FgaObject,
): Promise<JobView | undefined> {
  const ms = preferredWait(c.req.header('prefer'))
  if (ms === undefined) return undefined
  const signal = AbortSignal.any([AbortSignal.timeout(ms), c.get('deadline').signal])
  const job = await ingest.waitForJob(jobId, owner, signal)
  return job?.state === 'done' || job?.state === 'failed' ? job : undefined
}

/** A job as JSON. */
export const toWire = (job: JobView): z.output<typeof jobSchema> => ({
  ...job,
  errors: [...job.errors],
  notes: [...job.notes],
})

/** Whether a person is an administrator now; asked of the row on every request. */
export type IsAdministrator = (subject: FgaObject) => Promise<boolean>

const signInSecondsMax = 15 * 60

/**
 * Refuses a person without the row, and one whose sign-in is older than 15 minutes, further ahead than clocks
 * differ, or not told.
 */
export async function assertAdministrator(
  principal: Principal,
  isAdministrator: IsAdministrator,
  now: number,
): Promise<void> {
  if (
    principal.kind !== 'person' ||
    principal.actors.length > 0 ||
    !(await isAdministrator(principal.subject))
  ) {
    throw new AppError('forbidden', { public: 'Only an administrator may do this.' })
  }
  if (
    principal.authTime === undefined ||
    !isNoOlderThan(signInSecondsMax * 1_000, principal.authTime * 1_000, now)
  ) {
    throw new AppError('insufficient_user_authentication', {
      challenge: { maxAgeSeconds: signInSecondsMax },
    })
  }
}
