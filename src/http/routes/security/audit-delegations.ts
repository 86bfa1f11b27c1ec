import { z } from '@hono/zod-openapi'
import { auditDelegation, auditDelegationsAnswer } from '@remit/contract/audit'
import { text } from '@remit/contract/text'
import {
  type ListDelegations,
  type ListedDelegation,
  listedDelegationStates,
} from '../../../delegation/lending/delegation-list.ts'
import type { RecordNames } from '../../../delegation/registry/record-names.ts'
import { type App, createRouter, reply } from '../../env.ts'
import { bearerRoute, json, problems } from '../../schemas.ts'
import type { Reading } from '../reading.ts'
import type { OnRecord } from './audit.ts'
import { agentId, person } from './audit-questions.ts'

export interface AuditDelegationDeps extends Reading {
  readonly record: OnRecord
  readonly listLent: ListDelegations
  readonly names: RecordNames
}

const query = z.strictObject({
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

const answer = auditDelegationsAnswer
  .extend({ delegations: z.array(delegationSchema).openapi({ description: 'Newest first.' }) })
  .openapi('AuditDelegations')

/** `GET /audit/delegations`: who lent what to which agent, ended ones too; for administrators, and on record first. */
export function auditDelegationRoutes(dependencies: AuditDelegationDeps): App {
  const { asGetReader, assertReader, record, listLent, names } = dependencies
  const route = bearerRoute('get', '/audit/delegations', {
    summary: 'Who lent what to which agent, until when, and what became of it',
    middleware: [...asGetReader],
    request: { query },
    responses: { 200: json('One page', answer), ...problems() },
  })
  return createRouter().openapi(route, async (c) => {
    const principal = c.get('principal')
    await assertReader(principal)
    const { delegation, subject, agent, state, cursor, limit } = c.req.valid('query')
    const filter = { delegation, subject, agent, state }
    const recordedFilter: Readonly<Record<string, string>> = JSON.parse(JSON.stringify(filter))
    const look = { event: 'record_read', question: 'delegations', exported: false } as const
    await record(principal, { ...look, filter: recordedFilter })
    const lent = { id: delegation, subject, agent: agent?.slice('agent:'.length), state }
    const page = await listLent(lent, { cursor, limit })
    const knownNames = await names([
      ...new Set(page.rows.flatMap((row) => [row.subject, ...[row.agent, ...row.subAgents].map(asAgent)])),
    ])
    return reply(c, {
      delegations: page.rows.map(toWire),
      names: { ...knownNames },
      next_cursor: page.next,
    })
  })
}

const asAgent = (id: string): string => `agent:${id}`

const toWire = (row: ListedDelegation): z.output<typeof delegationSchema> => ({
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
