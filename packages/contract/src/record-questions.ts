import { z } from 'zod'
import { decisions } from './events.ts'
import { neverHere } from './explain.ts'
import type { Wire } from './wire.ts'

const times = {
  answers: z.int().meta({ description: 'How many answers held it.' }),
  first_at: z.string(),
  last_at: z.string(),
  last_txn: z.string(),
}
const names = z.record(z.string(), z.string())
const isComplete = z.boolean().meta({ description: 'False: there are more than the 1,000 that are listed.' })

/** What `GET /audit/readers` answers. */
export const readersAnswer = z.strictObject({
  readers: z.array(
    z.strictObject({
      subject: z.string(),
      actors: z.array(z.string()).meta({ description: 'Outermost first; empty: the person themselves.' }),
      client: z.string(),
      ...times,
    }),
  ),
  names,
  complete: isComplete,
  ...neverHere,
  txn: z.string(),
})

/** What `GET /audit/reads` answers. */
export const readsAnswer = z.strictObject({
  documents: z.array(
    z.strictObject({
      document_id: z.string(),
      delegation: z.string().nullable(),
      ...times,
      today: z.enum(['allowed', 'denied', 'error', 'not_asked']).optional().meta({
        description: 'What OpenFGA says now, past its caches, without the grants of then.',
      }),
    }),
  ),
  complete: isComplete,
  asked_today: z
    .int()
    .optional()
    .meta({ description: 'Of the documents, newest first, so many were asked about; at most 200.' }),
  ...neverHere,
  txn: z.string(),
})

/** What `GET /audit/thread` answers. */
export const threadAnswer = z.strictObject({
  steps: z.array(
    z.strictObject({
      seq: z.int(),
      time: z.string(),
      event: z.string(),
      decision: z.enum(decisions),
      txn: z.string().meta({ description: 'Another than the one asked for where a trace leads there.' }),
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
  complete: z.boolean().meta({
    description: 'False: there are more than these 1,000, which are those of the action first.',
  }),
  txn: z.string(),
})

/** What `GET /audit/reach` answers. */
export const reachAnswer = z.strictObject({
  days: z.array(
    z.strictObject({
      day: z.string(),
      documents: z.int(),
      new_documents: z.int().meta({ description: 'Given on no day before.' }),
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
        .meta({ description: 'median + 3 × max(1.4826 × MAD, √median, 1) of the days before.' }),
      unusual: z.boolean(),
    }),
  ),
  unusual: z.boolean().nullable().meta({ description: 'null: fewer than 7 days with anything read.' }),
  txn: z.string(),
})

/** What `GET /audit/readers` answers. */
export type Readers = Wire<typeof readersAnswer>

/** What `GET /audit/reads` answers. */
export type Reads = Wire<typeof readsAnswer>

/** What `GET /audit/thread` answers. */
export type Thread = Wire<typeof threadAnswer>

/** What `GET /audit/reach` answers. */
export type Reach = Wire<typeof reachAnswer>
