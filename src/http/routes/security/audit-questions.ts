import { createRoute, z } from '@hono/zod-openapi'
import { decisions } from '@remit/contract/events'
import { instant } from '@remit/contract/instant'
import { text } from '@remit/contract/text'
import type { RecordQuestions } from '../../../audit/questions.ts'
import type { ThreadStep } from '../../../audit/thread.ts'
import type { NeverHere } from '../../../authz/explain/never-here.ts'
import type { StillReadable } from '../../../authz/explain/still-readable.ts'
import type { Names } from '../../../delegation/registry/names.ts'
import { invalid } from '../../../kernel/errors.ts'
import type { FgaObject } from '../../../kernel/ids.ts'
import type { Principal } from '../../../kernel/principal.ts'
import { type App, createRouter } from '../../env.ts'
import { bearer, id, problems } from '../../schemas.ts'
import { neverHere, neverHereToWire, type Reading } from '../reading.ts'
import type { OnRecord } from './audit.ts'

export interface AuditQuestionDeps extends Reading {
  readonly neverHere: NeverHere
  readonly record: OnRecord
  readonly questions: RecordQuestions
  /** Everything of one action. */
  readonly thread: (txn: string) => Promise<readonly ThreadStep[]>
  /** What was given then, asked now. */
  readonly today: StillReadable
  readonly names: Names
  readonly now: () => number
}

/** `user:ID` */
export const person = text(1, 600)
  .refine((value) => /^user:[^*#]+$/.test(value), 'must be user:ID, such as user:anne')
  .openapi({ example: 'user:anne' })
/** `agent:ID` */
export const agentId = text(1, 300)
  .refine((value) => /^agent:[^*#]+$/.test(value), 'must be agent:ID, such as agent:research-bot')
  .openapi({ example: 'agent:research-bot' })
const span = { since: instant.optional(), until: instant.optional() }

const times = {
  answers: z.int().openapi({ description: 'How many answers held it.' }),
  first_at: z.string(),
  last_at: z.string(),
  last_txn: z.string(),
}
const names = z.record(z.string(), z.string())
const complete = z.boolean().openapi({ description: 'False: there are more than the 1,000 that are listed.' })

const readersAnswer = z
  .strictObject({
    readers: z.array(
      z.strictObject({
        subject: z.string(),
        actors: z
          .array(z.string())
          .openapi({ description: 'Outermost first; empty: the person themselves.' }),
        client: z.string(),
        ...times,
      }),
    ),
    names,
    complete,
    ...neverHere,
    txn: z.string(),
  })
  .openapi('AuditReaders')

const readsAnswer = z
  .strictObject({
    documents: z.array(
      z.strictObject({
        document_id: z.string(),
        delegation: z.string().nullable(),
        ...times,
        today: z.enum(['allowed', 'denied', 'error', 'not_asked']).optional().openapi({
          description: 'What OpenFGA says now, past its caches, without the grants of then.',
        }),
      }),
    ),
    complete,
    asked_today: z
      .int()
      .optional()
      .openapi({ description: 'Of the documents, newest first, so many were asked about; at most 200.' }),
    ...neverHere,
    txn: z.string(),
  })
  .openapi('AuditReads')

const threadAnswer = z
  .strictObject({
    steps: z.array(
      z.strictObject({
        seq: z.int(),
        time: z.string(),
        event: z.string(),
        decision: z.enum(decisions),
        txn: z.string().openapi({ description: 'Another than the one asked for where a trace leads there.' }),
        subject: z.string(),
        actors: z.array(z.string()),
        client: z.string(),
        delegation: z.string().optional(),
        tool: z.string().optional(),
        trace_id: z.string().optional(),
        detail: z.looseObject({}),
      }),
    ),
    names,
    txn: z.string(),
  })
  .openapi('AuditThread')

const reachAnswer = z
  .strictObject({
    days: z.array(
      z.strictObject({
        day: z.string(),
        documents: z.int(),
        new_documents: z.int().openapi({ description: 'Given on no day before.' }),
        reads: z.int(),
      }),
    ),
    measures: z.array(
      z.strictObject({
        name: z.enum(['documents', 'new_documents', 'reads']),
        last: z.int(),
        median: z.number(),
        threshold: z
          .number()
          .openapi({ description: 'median + 3 × max(1.4826 × MAD, √median, 1) of the days before.' }),
        unusual: z.boolean(),
      }),
    ),
    unusual: z.boolean().nullable().openapi({ description: 'null: fewer than 7 days with anything read.' }),
    txn: z.string(),
  })
  .openapi('AuditReach')

const todayMax = 200
const historyDays = 28

/** The questions of an incident; for administrators, and each on record before it is answered. */
export function auditQuestionRoutes(deps: AuditQuestionDeps): App {
  const { asLooker, assertReader, questions, record } = deps
  const route = <Query extends z.ZodObject, Answer extends z.ZodType>(
    path: string,
    summary: string,
    query: Query,
    answer: Answer,
  ) =>
    createRoute({
      method: 'get',
      path,
      summary,
      security: bearer,
      middleware: [...asLooker] as const,
      request: { query },
      responses: {
        200: { description: summary, content: { 'application/json': { schema: answer } } },
        ...problems(),
      },
    })
  const begin = async (principal: Principal, question: string, filter: object): Promise<void> => {
    await assertReader(principal)
    const said = Object.fromEntries(
      Object.entries(filter).flatMap(([name, value]) => (value === undefined ? [] : [[name, String(value)]])),
    )
    await record(principal, { event: 'record_read', question, filter: said, exported: false })
  }
  const namesOf = async (
    rows: readonly { subject: string; actors: readonly string[]; client: string }[],
  ) => ({
    ...(await deps.names([
      ...new Set(rows.flatMap(({ subject, actors, client }) => [subject, ...actors, client])),
    ])),
  })

  return createRouter()
    .openapi(
      route(
        '/audit/readers',
        'Who was given a document, and through which agents',
        z.strictObject({ document: id, ...span }),
        readersAnswer,
      ),
      async (c) => {
        const { document, ...between } = c.req.valid('query')
        await begin(c.get('principal'), 'readers', c.req.valid('query'))
        const { rows, complete: all } = await questions.readers(document, datesOf(between))
        const readers = rows.map((row) => ({ ...row, actors: [...row.actors] }))
        const common = {
          complete: all,
          ...neverHereToWire(await deps.neverHere([`document:${document}`])),
          txn: c.get('txn'),
        }
        return c.json({ readers, names: await namesOf(rows), ...common }, 200)
      },
    )
    .openapi(
      route(
        '/audit/reads',
        'What a person was given, by one agent or themselves, and what of it would be refused today',
        z.strictObject({
          subject: person,
          agent: agentId.optional(),
          ...span,
          today: z.enum(['true', 'false']).default('false'),
        }),
        readsAnswer,
      ),
      async (c) => {
        const { subject, agent, today, ...between } = c.req.valid('query')
        await begin(c.get('principal'), 'reads', c.req.valid('query'))
        const { rows, complete: all } = await questions.reads({ subject, agent }, datesOf(between))
        const common = {
          complete: all,
          ...neverHereToWire(await deps.neverHere(agent === undefined ? [subject] : [subject, agent])),
          txn: c.get('txn'),
        }
        if (today === 'false') return c.json({ documents: [...rows], ...common }, 200)
        const asked = rows.slice(0, todayMax)
        const verdicts = await deps.today(
          {
            subject: subject as FgaObject,
            ...(agent !== undefined && { agent: agent.slice('agent:'.length) }),
          },
          asked.map(({ document_id, delegation }) => ({ document: document_id, delegation })),
          { signal: c.get('deadline').signal },
        )
        const documents = rows.map((row, index) => ({
          ...row,
          today: verdicts[index] ?? ('not_asked' as const),
        }))
        return c.json({ documents, asked_today: asked.length, ...common }, 200)
      },
    )
    .openapi(
      route(
        '/audit/thread',
        'Everything of one action, from its first record to its last',
        z.strictObject({ txn: text(1, 64) }),
        threadAnswer,
      ),
      async (c) => {
        const { txn } = c.req.valid('query')
        await begin(c.get('principal'), 'thread', { txn })
        const found = await deps.thread(txn)
        const steps = found.map(({ at, trace, actors, detail, delegation, tool, ...step }) => ({
          ...step,
          time: at.toISOString(),
          actors: [...actors],
          ...(delegation !== undefined && { delegation }),
          ...(tool !== undefined && { tool }),
          ...(trace !== undefined && { trace_id: trace }),
          detail: { ...detail },
        }))
        return c.json({ steps, names: await namesOf(found), txn: c.get('txn') }, 200)
      },
    )
    .openapi(
      route(
        '/audit/reach',
        'What an agent reads, day by day, and whether the last day is unlike the ones before',
        z.strictObject({ agent: agentId, until: instant.optional() }),
        reachAnswer,
      ),
      async (c) => {
        const { agent, until } = c.req.valid('query')
        await begin(c.get('principal'), 'reach', c.req.valid('query'))
        const { days, measures, unusual } = await questions.reach(agent, {
          until: new Date(until ?? deps.now()),
          history: historyDays,
        })
        return c.json(
          { days: [...days], measures: [...measures], unusual: unusual ?? null, txn: c.get('txn') },
          200,
        )
      },
    )
}

function datesOf({
  since,
  until,
}: {
  readonly since?: string | undefined
  readonly until?: string | undefined
}) {
  if (since !== undefined && until !== undefined && Date.parse(since) > Date.parse(until))
    throw invalid('until', 'It is before since.')
  return {
    ...(since !== undefined && { since: new Date(since) }),
    ...(until !== undefined && { until: new Date(until) }),
  }
}
