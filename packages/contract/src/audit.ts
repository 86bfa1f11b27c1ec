import { z } from 'zod'
import { decisions } from './events.ts'
import type { Wire } from './wire.ts'

/** One record, as `GET /audit` gives it. */
export const recordEntry = z.strictObject({
  seq: z.int().meta({ description: 'Begun in this order; a number that is missing was never committed.' }),
  time: z.string().meta({ example: '2026-11-25T04:09:42.084113Z' }),
  event: z.string(),
  decision: z.enum(decisions).meta({ description: '`none`: nothing was decided.' }),
  subject: z.string(),
  actors: z.array(z.string()).meta({ description: 'Outermost first.' }),
  client: z.string(),
  delegation: z.string().optional(),
  tool: z.string().optional(),
  txn: z.string(),
  trace_id: z.string().optional(),
  names: z
    .record(z.string(), z.string())
    .meta({ description: 'Of subject, actors and client, where they have one.' }),
  detail: z.looseObject({}).meta({ description: 'What the event says; ids only.' }),
})

/** What `GET /audit` answers. */
export const recordAnswer = z.strictObject({
  records: z.array(recordEntry),
  next_cursor: z.string().optional().meta({ description: 'Left out on the last page.' }),
  txn: z.string(),
})

/** One delegation, as `GET /audit/delegations` gives it. */
export const auditDelegation = z.strictObject({
  delegation: z.string(),
  subject: z.string(),
  agent: z.string(),
  sub_agents: z.array(z.string()),
  scope: z.array(z.string()).meta({ description: 'Empty where it is for another’s API.' }),
  resource: z.string().optional().meta({ description: 'The other’s API that it is for.' }),
  purpose: z.string(),
  standing: z.boolean(),
  created_at: z.string(),
  expires_at: z.string(),
  revoked_at: z.string().optional(),
  state: z.enum(['live', 'over', 'revoked']),
  agent_disabled: z
    .boolean()
    .meta({ description: 'Whether the agent is disabled that it was lent to, and is given nothing.' }),
})

/** What `GET /audit/delegations` answers. */
export const auditDelegationsAnswer = z.strictObject({
  delegations: z.array(auditDelegation).meta({ description: 'Newest first.' }),
  names: z.record(z.string(), z.string()),
  next_cursor: z.string().optional().meta({ description: 'Left out on the last page.' }),
  txn: z.string(),
})

/** One record, as `GET /audit` gives it. */
export type RecordEntry = Wire<typeof recordEntry>

/** One page of `GET /audit`. */
export type RecordPage = Wire<typeof recordAnswer>

/** One delegation, as `GET /audit/delegations` gives it. */
export type AuditDelegation = Wire<typeof auditDelegation>

/** One page of `GET /audit/delegations`; `names` are titles by id. */
export type AuditDelegationPage = Wire<typeof auditDelegationsAnswer>
