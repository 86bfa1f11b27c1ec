import { z } from '@hono/zod-openapi'
import { text } from '@remit/contract/text'
import type { Ingest } from '../../../ingest/ingest.ts'
import type { ListedJob } from '../../../ingest/job-list.ts'
import { progressToWire } from '../../../ingest/job-progress.ts'
import { AppError, invalid } from '../../../kernel/errors.ts'
import { type FgaObject, splitObject } from '../../../kernel/ids.ts'
import type { Principal } from '../../../kernel/principal.ts'
import { type App, type AppContext, createRouter, reply } from '../../env.ts'
import type { RequireBearer } from '../../middleware/bearer.ts'
import { answerOf, bearerRoute, id, json, objectOf, problems } from '../../schemas.ts'
import type { OnRecord, Reading } from '../reading.ts'
import { jobKind, jobMembers, jobSchema, jobState, toWire } from '../writing.ts'

/** What stands before what a service sees of its own, and an administrator with `security.read` of all. */
export interface OversightDeps extends Pick<Reading, 'assertReader'> {
  readonly ingest: Ingest
  readonly requireBearer: RequireBearer
  readonly record: OnRecord
}

/** The parameters by which a list is read in pages. */
export const pageQuery = {
  cursor: text(1, 200).optional(),
  limit: z.coerce.number<string>().int().min(1).max(200).default(50),
} as const

/** A list of everybody's, or of one service. */
export const serviceQuery = id
  .optional()
  .openapi({ description: 'Of this service alone; named by administrators', example: 'loader' })

const query = z.strictObject({
  state: jobState.optional(),
  kind: jobKind.optional(),
  service: serviceQuery,
  ...pageQuery,
})

const summary = objectOf('JobSummary', jobMembers)
const list = answerOf('JobList', {
  jobs: z.array(summary),
  cursor: z.string().nullable().openapi({ description: 'Where the next page begins; null on the last.' }),
})

/** A service with `docs.write`, or a person with `security.read`, which their row has to say too. */
export const ownOrAll = (requireBearer: RequireBearer) =>
  requireBearer({ kinds: ['service', 'person'], scopes: [], anyOf: ['docs.write', 'security.read'] })

/**
 * The one service whose rows the caller gets; undefined for all, as an administrator, whose look is on record
 * before anything is given. A service gets its own, whatever it names.
 */
export async function serviceFor(
  c: AppContext,
  { assertReader, record }: Pick<OversightDeps, 'assertReader' | 'record'>,
  question: 'jobs' | 'job' | 'failed_documents',
  { service, ...filter }: Readonly<Record<string, string | undefined>>,
): Promise<string | undefined> {
  const principal = c.get('principal')
  if (isService(principal)) {
    const own = splitObject(principal.subject).id
    if (service !== undefined && service !== own)
      throw invalid('service', 'A service sees what is its own: leave this out.')
    return own
  }
  await assertReader(principal)
  const filters = Object.entries({ service, ...filter }).filter(
    (entry): entry is [string, string] => entry[1] !== undefined,
  )
  await record(principal, { event: 'jobs_read', question, filter: Object.fromEntries(filters) })
  return service
}

const isService = ({ kind, scopes }: Principal): boolean => kind === 'service' && scopes.has('docs.write')

/**
 * `GET /jobs`, `GET /jobs/{id}`: a service's own, or all for an administrator with `security.read`. What is
 * another service's gets the 404 of a missing one.
 */
export function jobRoutes(dependencies: OversightDeps): App {
  const { ingest, requireBearer } = dependencies
  const listRoute = bearerRoute('get', '/jobs', {
    summary: 'Jobs, newest first: how far each is, and when it will have ended',
    middleware: [ownOrAll(requireBearer)],
    request: { query },
    responses: { 200: json('One page', list), ...problems() },
  })
  const showRoute = bearerRoute('get', '/jobs/{id}', {
    summary: 'How a job stands',
    middleware: [ownOrAll(requireBearer)],
    request: { params: z.strictObject({ id: text(1, 200) }) },
    responses: { 200: json('The job', jobSchema), ...problems(404) },
  })
  return createRouter()
    .openapi(listRoute, async (c) => {
      const { state, kind, service, cursor, limit } = c.req.valid('query')
      const owner = await serviceFor(c, dependencies, 'jobs', { service, state, kind })
      const page = await ingest.jobs({ owner: ownerOf(owner), state, kind }, { cursor, limit })
      return reply(c, { jobs: page.jobs.map(toSummary), cursor: page.cursor ?? null })
    })
    .openapi(showRoute, async (c) => {
      const { id } = c.req.valid('param')
      const owner = await serviceFor(c, dependencies, 'job', { job: id })
      const job = await ingest.job(id, ownerOf(owner))
      if (job === undefined) throw new AppError('not_found')
      return c.json(toWire(job), 200)
    })
}

const ownerOf = (service: string | undefined): FgaObject | undefined =>
  service === undefined ? undefined : `service:${service}`

const toSummary = ({
  owner,
  createdAt,
  queued,
  rate,
  estimatedEnd,
  ...job
}: ListedJob): z.output<typeof summary> => ({
  ...job,
  service: splitObject(owner).id,
  created_at: createdAt.toISOString(),
  ...progressToWire({
    queued,
    ...(rate !== undefined && { rate }),
    ...(estimatedEnd !== undefined && { estimatedEnd }),
  }),
})
