import { z } from '@hono/zod-openapi'
import { auditDelegation, auditDelegationsAnswer } from '@remit/contract/audit'
import { instant } from '@remit/contract/instant'
import { reachAnswer, readersAnswer, readsAnswer, threadAnswer } from '@remit/contract/record-questions'
import { text } from '@remit/contract/text'
import type { RecordQuestions } from '../../../audit/questions.ts'
import { type AuditThread, stepToWire } from '../../../audit/thread.ts'
import type { StillReadable } from '../../../authz/explain/still-readable.ts'
import {
  type ListDelegations,
  type ListedDelegation,
  listedDelegationStates,
} from '../../../delegation/lending/delegation-list.ts'
import type { RecordNames } from '../../../delegation/registry/record-names.ts'
import { invalid } from '../../../kernel/errors.ts'
import type { FgaObject } from '../../../kernel/ids.ts'
import type { Principal } from '../../../kernel/principal.ts'
import { type App, createRouter, reply } from '../../env.ts'
import { bearerRoute, id, json, problems } from '../../schemas.ts'
import type { OnRecord } from '../reading.ts'
import { type Asking, neverHereToWire } from '../reading.ts'

export interface AuditQuestionDeps extends Asking {
  readonly record: OnRecord
  readonly questions: RecordQuestions
  /** Everything of one action. */
  readonly thread: (txn: string) => Promise<AuditThread>
  /** What was given then, asked now. */
  readonly today: StillReadable
  readonly names: RecordNames
  /** Ended ones too. */
  readonly listLent: ListDelegations
  readonly now: () => number
}

/** `user:ID` */
const person = text(1, 600)
  .refine((value) => /^user:[^*#]+$/.test(value), 'must be user:ID, such as user:anne')
  .openapi({ example: 'user:anne' })
/** `agent:ID` */
const agentId = text(1, 300)
  .refine((value) => /^agent:[^*#]+$/.test(value), 'must be agent:ID, such as agent:research-bot')
  .openapi({ example: 'agent:research-bot' })
const span = { since: instant.optional(), until: instant.optional() }

const readersSchema = readersAnswer.clone().openapi('AuditReaders')
const readsSchema = readsAnswer.clone().openapi('AuditReads')
const threadSchema = threadAnswer.clone().openapi('AuditThread')
const reachSchema = reachAnswer.clone().openapi('AuditReach')

const delegationsQuery = z.strictObject({
  delegation: text(1, 200).optional().openapi({ example: 'd_q7m2xk4v9anr' }),
  subject: person.optional().openapi({ description: 'Who lent it.' }),
  agent: agentId
    .optional()
    .openapi({ description: 'To whom it was lent, or may be passed on.', example: 'agent:research-bot' }),
  state: z.enum(listedDelegationStates).optional().openapi({ description: '`over`: its time has passed.' }),
  cursor: text(1, 400).optional(),
  limit: z.coerce.number<string>().int().min(1).max(200).default(100),
})

const delegationSchema = auditDelegation.clone().openapi('AuditDelegation')

const delegationsSchema = auditDelegationsAnswer
  .extend({ delegations: z.array(delegationSchema).openapi({ description: 'Newest first.' }) })
  .openapi('AuditDelegations')

const todayMax = 200
const historyDays = 28

/** The questions of an incident; for administrators, and each on record before it is answered. */
export function auditQuestionRoutes(dependencies: AuditQuestionDeps): App {
  const { asGetReader, assertReader, questions, record } = dependencies
  const route = <Query extends z.ZodObject, Answer extends z.ZodType>(
    path: string,
    summary: string,
    query: Query,
    answer: Answer,
    description = summary,
  ) =>
    bearerRoute('get', path, {
      summary,
      middleware: [...asGetReader],
      request: { query },
      responses: { 200: json(description, answer), ...problems() },
    })
  const recordQuestion = async (principal: Principal, question: string, filter: object): Promise<void> => {
    await assertReader(principal)
    const recordedFilter = Object.fromEntries(
      Object.entries(filter).flatMap(([name, value]) => (value === undefined ? [] : [[name, String(value)]])),
    )
    await record(principal, { event: 'record_read', question, filter: recordedFilter, exported: false })
  }
  const namesOf = async (
    rows: readonly { subject: string; actors: readonly string[]; client: string }[],
  ) => ({
    ...(await dependencies.names([
      ...new Set(rows.flatMap(({ subject, actors, client }) => [subject, ...actors, client])),
    ])),
  })

  return createRouter()
    .openapi(
      route(
        '/audit/readers',
        'Who was given a document, and through which agents',
        z.strictObject({ document: id, ...span }),
        readersSchema,
      ),
      async (c) => {
        const { document, ...between } = c.req.valid('query')
        await recordQuestion(c.get('principal'), 'readers', c.req.valid('query'))
        const { rows, complete: isComplete } = await questions.readers(document, datesOf(between))
        return reply(c, {
          readers: rows.map((row) => ({ ...row, actors: [...row.actors] })),
          names: await namesOf(rows),
          complete: isComplete,
          ...neverHereToWire(await dependencies.neverHere([`document:${document}`])),
        })
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
        readsSchema,
      ),
      async (c) => {
        const { subject, agent, today, ...between } = c.req.valid('query')
        await recordQuestion(c.get('principal'), 'reads', c.req.valid('query'))
        const { rows, complete: isComplete } = await questions.reads({ subject, agent }, datesOf(between))
        const askedSubjects = agent === undefined ? [subject] : [subject, agent]
        const common = {
          complete: isComplete,
          ...neverHereToWire(await dependencies.neverHere(askedSubjects)),
        }
        if (today === 'false') return reply(c, { documents: [...rows], ...common })
        const judgedRows = rows.slice(0, todayMax)
        const verdicts = await dependencies.today(
          {
            subject: subject as FgaObject,
            ...(agent !== undefined && { agent: agent.slice('agent:'.length) }),
          },
          judgedRows.map(({ document_id, delegation }) => ({ document: document_id, delegation })),
          { signal: c.get('deadline').signal },
        )
        const documents = rows.map((row, index) => ({
          ...row,
          today: verdicts[index] ?? ('not_asked' as const),
        }))
        return reply(c, { documents, asked_today: judgedRows.length, ...common })
      },
    )
    .openapi(
      route(
        '/audit/thread',
        'Everything of one action, from its first record to its last',
        z.strictObject({ txn: text(1, 64).openapi({ description: 'Its `txn`, or the id of a trace.' }) }),
        threadSchema,
      ),
      async (c) => {
        const { txn } = c.req.valid('query')
        await recordQuestion(c.get('principal'), 'thread', { txn })
        const { steps, isComplete } = await dependencies.thread(txn)
        return reply(c, {
          steps: steps.map(stepToWire),
          names: await namesOf(steps),
          complete: isComplete,
        })
      },
    )
    .openapi(
      route(
        '/audit/reach',
        'What an agent reads, day by day, and whether the last day is unlike the ones before',
        z.strictObject({ agent: agentId, until: instant.optional() }),
        reachSchema,
      ),
      async (c) => {
        const { agent, until: endTime } = c.req.valid('query')
        await recordQuestion(c.get('principal'), 'reach', c.req.valid('query'))
        const { days, measures, unusual } = await questions.reach(agent, {
          until: new Date(endTime ?? dependencies.now()),
          history: historyDays,
        })
        return reply(c, { days: [...days], measures: [...measures], unusual: unusual ?? null })
      },
    )
    .openapi(
      route(
        '/audit/delegations',
        'Who lent what to which agent, until when, and what became of it',
        delegationsQuery,
        delegationsSchema,
        'One page',
      ),
      async (c) => {
        const { delegation, subject, agent, state, cursor, limit } = c.req.valid('query')
        await recordQuestion(c.get('principal'), 'delegations', { delegation, subject, agent, state })
        const filter = { id: delegation, subject, agent: agent?.slice('agent:'.length), state }
        const { rows, next } = await dependencies.listLent(filter, { cursor, limit })
        const named = rows.flatMap((row) => [row.subject, ...[row.agent, ...row.subAgents].map(asAgent)])
        return reply(c, {
          delegations: rows.map(delegationToWire),
          names: { ...(await dependencies.names([...new Set(named)])) },
          next_cursor: next,
        })
      },
    )
}

const asAgent = (id: string): string => `agent:${id}`

const delegationToWire = (row: ListedDelegation): z.output<typeof delegationSchema> => ({
  delegation: row.id,
  subject: row.subject,
  agent: asAgent(row.agent),
  sub_agents: row.subAgents.map(asAgent),
  scope: [...row.scope],
  resource: row.resource,
  purpose: row.purpose,
  standing: row.standing,
  created_at: row.createdAt.toISOString(),
  expires_at: row.expiresAt.toISOString(),
  revoked_at: row.revokedAt?.toISOString(),
  state: row.state,
  agent_disabled: row.isAgentDisabled,
})

function datesOf({
  since: startTime,
  until: endTime,
}: {
  readonly since?: string | undefined
  readonly until?: string | undefined
}) {
  if (startTime !== undefined && endTime !== undefined && Date.parse(startTime) > Date.parse(endTime))
    throw invalid('until', 'It is before since.')
  return {
    ...(startTime !== undefined && { since: new Date(startTime) }),
    ...(endTime !== undefined && { until: new Date(endTime) }),
  }
}
