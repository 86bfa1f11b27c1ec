import { z } from 'zod'
import { replicaSchema } from './explain.ts'
import type { Wire } from './wire.ts'

/** Who gains, or loses, one relation by what is supposed. */
export const whatIfDifference = z.strictObject({
  count: z.int().meta({ description: 'Pairs of somebody and a document' }),
  people: z.int(),
  documents: z.int(),
  samples: z
    .array(
      z.strictObject({
        who: z.string().meta({ description: '`user:anne`, `anyone`, `user:anne by agent:research-bot`' }),
        document_id: z.string(),
        user: z.string().nullable().meta({ description: 'null: anyone for whom nothing is stored' }),
        agent: z.string().nullable(),
        delegation_id: z.string().nullable(),
      }),
    )
    .meta({ description: 'At most 100, one a person first' }),
  collections: z
    .array(z.strictObject({ collection: z.string().nullable(), count: z.int(), documents: z.int() }))
    .meta({ description: 'Where the documents are filed, the most first, at most 50; null: nowhere' }),
})
const change = z.strictObject({ gained: whatIfDifference, lost: whatIfDifference })

/** Tuples, as an answer names them. */
export const tupleLines = z.array(
  z.strictObject({ user: z.string(), relation: z.string(), object: z.string() }),
)

/** What `POST /what-if` answers. */
export const whatIfAnswer = z.strictObject({
  complete: z.boolean().meta({ description: 'False: somebody may be missing, and counts are at least' }),
  limited_by: z.array(z.enum(['questions', 'time', 'replica'])),
  can_read: change,
  can_read_delegated: change,
  asked: z
    .strictObject({ people: z.int(), agents: z.int(), questions: z.int() })
    .meta({ description: 'Whom the change can reach; all others are answered as before' }),
  unanswered: z.int().meta({ description: 'Questions that cannot be answered, which denies' }),
  unchanged: z
    .strictObject({ writes: tupleLines, deletes: tupleLines })
    .meta({ description: 'Writes of what is stored already, and deletes of what is not' }),
  nobody_may_write: tupleLines.meta({ description: 'Writes that the allow-list lets nobody make' }),
  at: z.string().meta({ description: 'The clock that conditions were evaluated with' }),
  replica: replicaSchema,
  watermark: z.strictObject({ read_to: z.string(), tuples: z.int() }),
  authorization_model_id: z.string(),
  candidate_digest: z.string().nullable().meta({ description: 'sha256 of `model`' }),
  txn: z.string(),
})

/** What `POST /what-if` answers. */
export type WhatIfAnswer = Wire<typeof whatIfAnswer>
