import { z } from 'zod'
import { id } from './id.ts'
import type { Wire } from './wire.ts'

const seconds = (max: number) => z.int().min(1).max(max)

/** What `POST /sources` takes. What is left out has the kind's default. */
export const sourceProposal = z.strictObject({
  id: z.string().min(1).max(40),
  kind: z.string().min(1).max(40),
  settings: z.looseObject({}),
  collections: z.array(id).min(1).max(20),
  secret: z.string().min(1).max(100).optional(),
  requests_per_minute: z.int().min(1).max(60_000).optional(),
  poll_seconds: seconds(86_400).optional(),
  crawl_seconds: seconds(2_592_000).optional(),
  permissions_max_age_seconds: seconds(2_592_000).optional(),
  purge_days: z.int().min(0).max(365).optional(),
})

/** What `POST /sources/{id}` takes. */
export const sourceAction = z.discriminatedUnion('action', [
  z.strictObject({ action: z.literal('confirm'), digest: z.string().min(1).max(100) }),
  z.strictObject({ action: z.literal('sync'), all: z.boolean().optional() }),
  z.strictObject({ action: z.literal('pause') }),
  z.strictObject({ action: z.literal('resume') }),
  z.strictObject({ action: z.literal('remove') }),
  z.strictObject({ action: z.literal('purge'), documents: z.int().min(0) }),
  z.strictObject({
    action: z.literal('set'),
    settings: z.looseObject({}),
    /** Left out: none, whatever it uses now. */
    secret: z.string().min(1).max(100).optional(),
  }),
  z.strictObject({ action: z.literal('hook') }),
  z.strictObject({ action: z.literal('end_hook') }),
])

/** A source as administrators see it. Times are ISO 8601; null: not yet. */
export const source = z.strictObject({
  id: z.string(),
  kind: z.string(),
  origin: z.string(),
  settings: z.looseObject({}),
  collections: z.array(z.string()),
  /** Stands for what was proposed; whoever confirms it says it. */
  digest: z.string(),
  state: z.enum(['proposed', 'active', 'paused', 'removing']),
  proposed_by: z.string(),
  confirmed_by: z.string().nullable(),
  poll_seconds: z.int(),
  crawl_seconds: z.int(),
  permissions_max_age_seconds: z.int(),
  purge_days: z.int(),
  secret: z.string().nullable(),
  requests_per_minute: z.int(),
  fresh: z.boolean(),
  groups_confirmed_at: z.string().nullable(),
  items_confirmed_at: z.string().nullable(),
  began_at: z.string().nullable(),
  ended_at: z.string().nullable(),
  next_at: z.string(),
  failures: z.int(),
  problem: z.string().nullable(),
  items: z.int(),
  hidden: z.int(),
  missing: z.int(),
  requests: z.int(),
  throttled: z.int(),
  /** Whether its system may wake it, by `POST /sources/{id}/hook`. */
  has_hook: z.boolean(),
  hook_called_at: z.string().nullable(),
})

/** What `GET /sources` answers. */
export const allSourcesAnswer = z.strictObject({ sources: z.array(source), txn: z.string() })

/** What whatever changes a source answers. */
export const oneSourceAnswer = z.strictObject({
  source,
  /** Of `hook` alone: what signs its calls. It is told this once. */
  hook_secret: z.string().optional(),
  txn: z.string(),
})

/** What `GET /sources/{id}` answers: with what of it nobody may read, by id, and what may change of it. */
export const sourceReadAnswer = z.strictObject({
  source,
  hidden: z.array(
    z.strictObject({
      document_id: z.string(),
      reason: z.string(),
      confirmed_at: z.string().nullable(),
      missing_since: z.string().nullable(),
    }),
  ),
  nameless: z.array(z.strictObject({ name: z.string(), reason: z.string() })),
  /** Other settings that somebody proposed; whoever confirms them says their digest. */
  proposed_change: z
    .strictObject({
      origin: z.string(),
      settings: z.looseObject({}),
      secret: z.string().nullable(),
      proposed_by: z.string(),
      digest: z.string(),
    })
    .nullable(),
  txn: z.string(),
})

/** A source as administrators see it. */
export type Source = Wire<typeof source>

/** What `GET /sources` answers. */
export type SourceList = Wire<typeof allSourcesAnswer>

/** What whatever changes a source answers. */
export type SourceAnswer = Wire<typeof oneSourceAnswer>

/** What `GET /sources/{id}` answers. */
export type SourceRead = Wire<typeof sourceReadAnswer>
