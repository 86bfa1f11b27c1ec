import { z } from 'zod'
import type { Wire } from './wire.ts'

/** What `GET /activity` answers: counts alone, of everybody. */
export const activityAnswer = z.strictObject({
  stretch_seconds: z.int(),
  stretches: z
    .array(
      z.strictObject({
        at: z.string().meta({ description: 'When it begins.' }),
        allowed: z.int(),
        denied: z.int(),
        error: z.int(),
        none: z.int().meta({ description: 'Answers that held nothing, of which nothing was refused.' }),
      }),
    )
    .meta({ description: 'Questions, reads and calls by how they went, oldest first.' }),
  approvals_waiting: z.int().meta({ description: 'Questions of agents that nobody has answered yet.' }),
  drift_mended: z.int().meta({ description: 'Documents whose permissions differed and were mended.' }),
  index: z.strictObject({
    state: z.enum(['building', 'following', 'broken']),
    lag_ms: z.number(),
    tuples: z.int(),
  }),
  txn: z.string(),
})

/** What `GET /activity` answers. */
export type Activity = Wire<typeof activityAnswer>
