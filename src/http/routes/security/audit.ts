import { z } from '@hono/zod-openapi'
import { activityAnswer } from '@remit/contract/activity'
import { recordAnswer, recordEntry } from '@remit/contract/audit'
import { decisions, eventNames } from '@remit/contract/events'
import { instant } from '@remit/contract/instant'
import { text } from '@remit/contract/text'
import type { Activity, ActivityOptions } from '../../../audit/activity.ts'
import type { RecordEntry, RecordFilter, RecordReader } from '../../../audit/query.ts'
import type { IndexStatus } from '../../../authz/permission-index.ts'
import type { RecordNames } from '../../../delegation/registry/record-names.ts'
import { type App, createRouter, reply } from '../../env.ts'
import { bearerRoute, json, problems } from '../../schemas.ts'
import type { OnRecord, Reading } from '../reading.ts'

/** A record with the names of whom it names. */
interface NamedEntry extends RecordEntry {
  /** `user:anne` → Anne; only those that are known. */
  readonly names: Readonly<Record<string, string>>
}

export interface AuditRouteDeps extends Reading {
  readonly record: OnRecord
  readonly reader: RecordReader
  readonly names: RecordNames
}

interface ActivityRouteDeps extends Reading {
  readonly readActivity: (options: ActivityOptions) => Promise<Activity>
  /** Questions of agents that wait for somebody. */
  readonly countWaiting: () => Promise<number>
  readonly index: () => IndexStatus
  readonly now: () => number
}

const hour = 3_600_000

const activityQuery = z.strictObject({
  hours: z.coerce
    .number<string>()
    .int()
    .min(1)
    .max(168)
    .default(24)
    .openapi({ description: 'How far back. In stretches of 15 minutes; above 48 of an hour.' }),
})

const activityCounts = activityAnswer.clone().openapi('ActivityAnswer')

const limitMax = 200
const exportPage = 1_000
const ndjson = 'application/x-ndjson'

// Without its type an id is of nothing on record, and an empty list would read as if nothing had happened.
const typed = (max: number) =>
  text(1, max).refine(
    (id) => /^[a-z][\w-]*:./.test(id),
    'must be TYPE:ID, such as document:handbook/travel.md',
  )

const query = z.strictObject({
  subject: typed(600).optional().openapi({ example: 'user:anne' }),
  actor: typed(300)
    .optional()
    .openapi({ example: 'agent:research-bot', description: 'Anywhere in the chain of agents.' }),
  client: text(1, 500).optional(),
  object: typed(300).optional().openapi({
    example: 'document:handbook/travel.md',
    description:
      '`type:id` of what it was about: a document, collection, delegation, approval, grant, plan …',
  }),
  txn: text(1, 64).optional(),
  trace: text(1, 64)
    .optional()
    .openapi({ example: '4bf92f3577b34da6a3ce929d0e0e4736', description: 'The id that `traceparent` gave.' }),
  event: z.enum(eventNames).optional(),
  decision: z.enum(decisions).optional(),
  since: instant.optional().openapi({ description: 'From here on.' }),
  until: instant.optional().openapi({ description: 'And before here.' }),
  cursor: text(1, 200).optional(),
  limit: z.coerce.number<string>().int().min(1).max(limitMax).default(50),
})

type Asked = Omit<z.output<typeof query>, 'cursor' | 'limit'>

const entry = recordEntry.clone().openapi('RecordEntry')

const answer = recordAnswer.extend({ records: z.array(entry) }).openapi('RecordAnswer')

/**
 * `GET /audit`: what happened, newest first; for administrators, and itself on record. With `Accept:
 * application/x-ndjson` all that fits is streamed, one line each.
 */
export function auditRoutes({ asGetReader, assertReader, record, reader, names }: AuditRouteDeps): App {
  const route = bearerRoute('get', '/audit', {
    summary: 'What happened: the decision record, newest first',
    middleware: [...asGetReader],
    request: { query },
    responses: {
      200: {
        description: 'One page, or all of it as lines',
        content: {
          'application/json': { schema: answer },
          [ndjson]: { schema: z.string() },
        },
      },
      ...problems(),
    },
  })
  const named = async (entries: readonly RecordEntry[]): Promise<NamedEntry[]> => {
    const ids = new Set(entries.flatMap(({ subject, actors, client }) => [subject, ...actors, client]))
    const knownNames = await names([...ids])
    return entries.map((recordEntry) => ({ ...recordEntry, names: namesOf(recordEntry, knownNames) }))
  }
  return createRouter().openapi(route, async (c) => {
    const principal = c.get('principal')
    await assertReader(principal)
    const { cursor, limit, ...filterQuery } = c.req.valid('query')
    const filter = toFilter(filterQuery)
    const recordedFilter: Readonly<Record<string, string>> = JSON.parse(JSON.stringify(filterQuery))
    const exported = (c.req.header('accept') ?? '').includes(ndjson)
    // Before anything is given, as with every answer.
    await record(principal, { event: 'record_read', question: 'list', filter: recordedFilter, exported })
    if (!exported) {
      const page = await reader.page(filter, { limit, ...(cursor !== undefined && { cursor }) })
      const records = (await named(page.entries)).map(toWire)
      return reply(c, { records, next_cursor: page.next })
    }
    c.header('content-type', `${ndjson}; charset=utf-8`)
    const { assertStands } = c.get('deadline')
    const lines = exportOf(filter, cursor, async (entries) => {
      const namedEntries = await named(entries)
      // A slow reader would keep what they may no longer read for as long as they take.
      await assertStands?.('under_way')
      await assertReader(principal)
      return namedEntries.map((recordEntry) => JSON.stringify(toWire(recordEntry)))
    })
    // What is streamed is text to whoever reads the contract.
    return c.body(lines, 200) as never
  })

  /**
   * Page after page, as fast as it is taken. An error breaks the connection: half an export must not look
   * whole.
   */
  function exportOf(
    filter: RecordFilter,
    startCursor: string | undefined,
    toLines: (entries: readonly RecordEntry[]) => Promise<readonly string[]>,
  ): ReadableStream<Uint8Array> {
    const encoder = new TextEncoder()
    let cursor = startCursor
    return new ReadableStream(
      {
        async pull(controller) {
          const page = await reader.page(filter, {
            limit: exportPage,
            ...(cursor !== undefined && { cursor }),
          })
          cursor = page.next
          const lines = await toLines(page.entries)
          if (lines.length > 0) controller.enqueue(encoder.encode(`${lines.join('\n')}\n`))
          if (cursor === undefined) controller.close()
        },
      },
      { highWaterMark: 1 },
    )
  }
}

function toFilter({ since: startTime, until: endTime, ...fields }: Asked): RecordFilter {
  return {
    ...fields,
    ...(startTime !== undefined && { since: new Date(startTime) }),
    ...(endTime !== undefined && { until: new Date(endTime) }),
  }
}

const toWire = ({ delegation, tool, trace_id, ...recordEntry }: NamedEntry): z.output<typeof entry> => ({
  ...recordEntry,
  actors: [...recordEntry.actors],
  detail: { ...recordEntry.detail },
  names: { ...recordEntry.names },
  ...(delegation !== null && { delegation }),
  ...(tool !== null && { tool }),
  ...(trace_id !== null && { trace_id }),
})

function namesOf({ subject, actors, client }: RecordEntry, knownNames: Readonly<Record<string, string>>) {
  const found: Record<string, string> = {}
  for (const id of [subject, ...actors, client]) {
    const name = knownNames[id]
    if (name !== undefined) found[id] = name
  }
  return found
}

/**
 * `GET /activity`: how much was asked and refused lately, and what waits; for administrators. Counts alone,
 * of everybody: the one look at the record that is not itself on record.
 */
export function activityRoutes(dependencies: ActivityRouteDeps): App {
  const route = bearerRoute('get', '/activity', {
    summary: 'How much was asked and refused lately, what waits, and how far the index is behind',
    middleware: [...dependencies.asGetReader],
    request: { query: activityQuery },
    responses: { 200: json('Counts', activityCounts), ...problems() },
  })
  return createRouter().openapi(route, async (c) => {
    await dependencies.assertReader(c.get('principal'))
    const { hours } = c.req.valid('query')
    const stretchMs = hours > 48 ? hour : hour / 4
    const [{ stretches, driftMended }, waiting] = await Promise.all([
      dependencies.readActivity({
        until: new Date(dependencies.now()),
        stretchMs,
        count: (hours * hour) / stretchMs,
      }),
      dependencies.countWaiting(),
    ])
    const { state, lagMs, tuples } = dependencies.index()
    return reply(c, {
      stretch_seconds: stretchMs / 1_000,
      stretches: stretches.map(({ at: start, ...counts }) => ({ at: start.toISOString(), ...counts })),
      approvals_waiting: waiting,
      drift_mended: driftMended,
      index: { state, lag_ms: lagMs, tuples },
    })
  })
}
