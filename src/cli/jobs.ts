import { setTimeout as pause } from 'node:timers/promises'
import {
  type FailedDocument,
  isRemitError,
  type Job,
  type JobDesk,
  type JobListOptions,
  type JobSummary,
} from '@remit/client'
import { type Command, Option } from 'commander'
import { pluralize } from '../kernel/pluralize.ts'
import { printable } from '../kernel/printable.ts'
import { type AskDeps, askAs } from './as-person.ts'
import type { CliDeps } from './deps.ts'
import { bare } from './ids.ts'
import { printFacts } from './listing.ts'
import { isNotAnswering } from './not-answering.ts'
import type { Terminal } from './terminal.ts'
import { asWriter, lineOf, problemOf, type WriterFlags, writerFor } from './writer.ts'

interface Flags extends WriterFlags {
  readonly as?: string
  readonly token?: string
  readonly json: boolean
}

interface ListFlags extends Flags {
  readonly of?: string
  readonly state?: JobListOptions['state']
  readonly kind?: JobListOptions['kind']
  readonly code?: string
}

interface RetryFlags extends Flags {
  readonly all: boolean
  readonly code?: string
}

/** `jobs`: what became of what services sent, as a service, else as a signed-in administrator. */
export function addJobCommands(program: Command, dependencies: CliDeps, outcome: { ok: boolean }): void {
  const { terminal } = dependencies
  const jobs = program.command('jobs').description('Looks at what services sent, and mends it.')

  asEither(
    jobs
      .command('list', { isDefault: true })
      .description('Prints jobs, newest first.')
      .option('--of <service>', 'of this service alone (as an administrator)', bare('service'))
      .addOption(
        new Option('--state <state>', 'how they stand').choices(['queued', 'running', 'done', 'failed']),
      )
      .addOption(
        new Option('--kind <kind>', 'what they are about').choices([
          'document',
          'withdrawal',
          'import',
          'retry',
        ]),
      ),
  ).action(async ({ of: service, state, kind, ...flags }: ListFlags) => {
    const desk = deskFor(flags, dependencies)
    const page = async (cursor: string | undefined) => {
      const { jobs: rows, cursor: next } = await desk.jobs({ service, state, kind, cursor })
      return { rows, next }
    }
    await print(terminal, flags, pagesOf(page), { lineOf: jobLine, whenEmpty: 'No jobs.' })
  })

  asEither(jobs.command('show <id>').description('How a job stands, with what failed of it and why.')).action(
    async (id: string, flags: Flags) => {
      const { errors, notes, ...job } = await deskFor(flags, dependencies).job(id)
      if (flags.json) return terminal.out(JSON.stringify({ ...job, errors, notes }))
      printFacts(terminal, job, false)
      for (const entry of [...errors, ...notes]) terminal.out(printable(lineOf(entry)))
    },
  )

  asEither(
    jobs
      .command('failed')
      .description('Prints documents whose newest content could not be taken in, newest failure first.')
      .option('--of <service>', 'of this service alone (as an administrator)', bare('service'))
      .option('--code <code>', 'that failed for this reason, such as unreadable'),
  ).action(async ({ of: service, code, ...flags }: ListFlags) => {
    const desk = deskFor(flags, dependencies)
    await print(terminal, flags, pagesOf(failedPages(desk, { service, code })), {
      lineOf: failedLine,
      whenEmpty: 'Nothing failed.',
    })
  })

  asEither(
    jobs
      .command('retry [ids...]')
      .description('Takes failed documents in again, without sending them, and waits for each.')
      .option('--all', 'every failed document whose content is held', false)
      .option('--code <code>', 'with --all: those that failed for this reason'),
  ).action(async (ids: readonly string[], { all, code, ...flags }: RetryFlags) => {
    if (all === ids.length > 0) throw new Error('Name the documents, or say --all.')
    if (code !== undefined && !all) throw new Error('--code and --all belong together.')
    const desk = deskFor(flags, dependencies)
    outcome.ok = await retryEach(desk, all ? await heldOf(desk, code) : ids.map(bare('document')), terminal)
  })
}

const asEither = (command: Command): Command =>
  asWriter(command)
    .option('--as <user>', 'administrator of the demo who asks, where no service is named', bare('user'))
    .option(
      '--token <token>',
      'access token of a service or an administrator (default: REMIT_TOKEN, or your sign-in)',
    )
    .option('--json', 'one line of JSON each', false)

/** What a command needs, of a service or of an administrator, who may name a service. */
interface Desk {
  readonly job: (id: string) => Promise<Job>
  readonly jobs: (options: OfService<JobListOptions>) => ReturnType<JobDesk['jobs']>
  readonly failedDocuments: (options: OfService<FailedOptions>) => ReturnType<JobDesk['failedDocuments']>
  readonly retry: (id: string) => Promise<Job>
}

type FailedOptions = NonNullable<Parameters<JobDesk['failedDocuments']>[0]>
type OfService<Options> = Options & { readonly service: string | undefined }

function deskFor(flags: Flags, dependencies: CliDeps): Desk {
  const { service, client, key } = flags
  const isService = service !== undefined || client !== undefined || key !== undefined
  return isService ? serviceDesk(flags, dependencies) : personDesk(flags, dependencies)
}

function serviceDesk(flags: Flags, dependencies: CliDeps): Desk {
  const { writer, reasonOf } = writerFor(flags, dependencies)
  const withReason = <T>(answer: Promise<T>): Promise<T> =>
    answer.catch((error: unknown) => {
      if (!isRemitError(error) || error.status === undefined) throw reasonOf(error)
      throw new Error(problemOf(error), { cause: error })
    })
  return {
    job: (id) => withReason(writer.job(id)),
    jobs: ({ service: _, ...options }) => withReason(writer.jobs(options)),
    failedDocuments: ({ service: _, ...options }) => withReason(writer.failedDocuments(options)),
    retry: (id) => withReason(writer.retry(id)),
  }
}

function personDesk({ as: user, token, url }: Flags, dependencies: AskDeps): Desk {
  const by = { user, token, url }
  // Of the demo: lena looks, and kim may change something as well.
  const reader = { ...by, userByDefault: 'lena', scope: 'security.read' }
  const writer = { ...by, userByDefault: 'kim', scope: 'security.write' }
  const job = (id: string): Promise<Job> => askAs(dependencies, reader, `/jobs/${encodeURIComponent(id)}`)
  return {
    job,
    jobs: (query) => askAs(dependencies, reader, `/jobs${searchOf(query)}`),
    failedDocuments: (query) =>
      askAs(dependencies, reader, `/documents${searchOf({ state: 'failed', ...query })}`),
    async retry(id) {
      const path = `/documents/${encodeURIComponent(id)}/retry`
      const { job: begunJob } = await askAs<{ job: { id: string } }>(dependencies, writer, path, { body: {} })
      for (;;) {
        const current = await job(begunJob.id)
        if (current.state === 'done' || current.state === 'failed') return current
        await pause(pollMs)
      }
    },
  }
}

const pollMs = 500

function searchOf(members: object): string {
  const query = new URLSearchParams()
  for (const [name, value] of Object.entries(members)) if (value !== undefined) query.set(name, String(value))
  return query.size === 0 ? '' : `?${query}`
}

interface Page<Row> {
  readonly rows: readonly Row[]
  readonly next: string | null
}

async function* pagesOf<Row>(page: (cursor: string | undefined) => Promise<Page<Row>>): AsyncGenerator<Row> {
  let cursor: string | null | undefined
  do {
    const { rows, next } = await page(cursor ?? undefined)
    yield* rows
    cursor = next
  } while (cursor !== null)
}

const failedPages =
  (desk: Desk, filter: { readonly service: string | undefined; readonly code: string | undefined }) =>
  async (cursor: string | undefined): Promise<Page<FailedDocument>> => {
    const { documents: rows, cursor: next } = await desk.failedDocuments({ ...filter, cursor, limit: 200 })
    return { rows, next }
  }

async function print<Row>(
  terminal: Terminal,
  { json }: Pick<Flags, 'json'>,
  rows: AsyncIterable<Row>,
  says: { readonly lineOf: (row: Row) => string; readonly whenEmpty: string },
): Promise<void> {
  let count = 0
  for await (const row of rows) {
    count += 1
    terminal.out(json ? JSON.stringify(row) : printable(says.lineOf(row)))
  }
  if (count === 0) terminal.say(says.whenEmpty)
}

function jobLine({ id, service, kind, state, created_at, failed, ...job }: JobSummary): string {
  const parts = [
    `${id}  ${created_at}  ${service}  ${kind}  ${state}`,
    `${job.done} of ${job.total} in`,
    ...(failed > 0 ? [`${failed} failed`] : []),
    ...(job.rate === undefined ? [] : [`${job.rate} a second`]),
    ...(job.estimated_end === undefined ? [] : [`ends about ${job.estimated_end}`]),
  ]
  return parts.join(', ')
}

const failedLine = ({ id, service, code, detail, failed_at, tries, held: isHeld }: FailedDocument): string =>
  `${id}  ${failed_at}  ${service}  ${code}: ${detail} (${pluralize(tries, 'try', 'tries')}${isHeld ? '' : '; send it again'})`

/** First all of them: what fails once more meanwhile is not retried again. */
async function heldOf(desk: Desk, code: string | undefined): Promise<readonly string[]> {
  const ids: string[] = []
  for await (const { id, held: isHeld } of pagesOf(failedPages(desk, { service: undefined, code })))
    if (isHeld) ids.push(id)
  return ids
}

const atOnce = 4

/** Tells each that does not go in. Returns whether all did. */
async function retryEach(desk: Desk, ids: readonly string[], terminal: Terminal): Promise<boolean> {
  const queue = [...ids]
  let doneCount = 0
  let failedCount = 0
  async function work(): Promise<void> {
    for (let id = queue.shift(); id !== undefined; id = queue.shift()) {
      const problem = await retryOne(desk, id)
      doneCount += 1
      if (problem !== undefined) {
        failedCount += 1
        terminal.say(`failed: ${printable(id)}: ${printable(problem)}`)
      }
      terminal.progress(doneCount, ids.length, id)
    }
  }
  await Promise.all(Array.from({ length: atOnce }, work))
  terminal.say(
    `${ids.length - failedCount} of ${pluralize(ids.length, 'document')} in, ${failedCount} failed.`,
  )
  return failedCount === 0
}

/** Why it did not go in. */
async function retryOne(desk: Desk, id: string): Promise<string | undefined> {
  try {
    const { failed, errors } = await desk.retry(id)
    return failed === 0 ? undefined : errors.map(lineOf).join('; ') || 'it failed'
  } catch (error) {
    // Then no other would go in either.
    if (!(error instanceof Error) || isNotAnswering(error)) throw error
    return error.message
  }
}
