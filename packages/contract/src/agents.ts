import { z } from 'zod'
import type { Wire } from './wire.ts'

/** One registered agent. */
export const registeredAgent = z.strictObject({
  id: z.string(),
  owner: z.string(),
  title: z.string(),
  purpose: z.string(),
  scopes: z.array(z.string()).nullable(),
  collections: z.array(z.string()).nullable(),
  actor: z.strictObject({ issuer: z.string(), sub: z.string() }),
  jwks: z.strictObject({ keys: z.array(z.looseObject({})) }).optional(),
  state: z.enum(['enabled', 'disabled']),
  disabled_at: z.string().optional(),
})

/** What `GET /agents/{id}` answers, and whatever changes one. */
export const oneAgentAnswer = z.strictObject({ agent: registeredAgent, txn: z.string() })

/** What `GET /agents` answers. */
export const allAgentsAnswer = z.strictObject({ agents: z.array(registeredAgent), txn: z.string() })

/** What `GET /hosts` answers. */
export const hostsAnswer = z.strictObject({
  hosts: z.array(z.strictObject({ host: z.string(), since: z.string() })),
  txn: z.string(),
})

/** One registered agent. */
export type Agent = Wire<typeof registeredAgent>

/** What `GET /agents/{id}` answers, and whatever changes one. */
export type AgentAnswer = Wire<typeof oneAgentAnswer>

/** What `GET /agents` answers. */
export type AgentList = Wire<typeof allAgentsAnswer>

/** What `GET /hosts` answers. */
export type HostList = Wire<typeof hostsAnswer>
