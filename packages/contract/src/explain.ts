import { z } from 'zod'
import type { Wire } from './wire.ts'

/** Of every answer to a question of theirs. */
export const neverHere = {
  never_here: z.array(z.string()).meta({
    description: 'What was asked about, as `type:id`, that is not here and never was: perhaps it is mistyped',
    example: [],
  }),
  did_you_mean: z.record(z.string(), z.array(z.string())).meta({
    description: 'For each of these, at most 3 that are or were here and are spelled nearly like it',
    example: {},
  }),
}

/** How far the replica that explains is behind OpenFGA. */
export const replicaSchema = z.strictObject({
  state: z.enum(['ready', 'building', 'behind', 'other_model']),
  lag_ms: z.number(),
})

/** What `POST /who-can` answers. */
export const whoCanAnswer = z.strictObject({
  subjects: z.array(
    z.strictObject({
      kind: z
        .enum(['person', 'everyone', 'excluded'])
        .meta({ description: '`excluded`: everyone has it but this person.' }),
      user: z.string(),
      via: z.string().nullable().meta({ example: 'member of group:eng, viewer of folder:plans' }),
    }),
  ),
  limited_by: z.string().nullable().meta({
    description: 'Why nobody is listed, though OpenFGA lets somebody read it: its source closes it.',
  }),
  cursor: z.string().nullable().meta({ description: 'Where the next page begins; null on the last.' }),
  complete: z.boolean().meta({
    description: 'False: somebody may be missing, here or on a later page, for another reason than paging.',
  }),
  replica: replicaSchema,
  authorization_model_id: z.string(),
  ...neverHere,
  txn: z.string(),
})

/** What `POST /view-as` answers. */
export const viewAsAnswer = z.strictObject({
  documents: z.array(
    z.strictObject({
      document_id: z.string(),
      collection: z.string(),
      via: z.string().nullable().meta({ example: 'member of group:eng, viewer of folder:plans' }),
    }),
  ),
  cursor: z.string().nullable().meta({
    description:
      'Where the next page begins; null on the last. A page may hold fewer than asked for, or none.',
  }),
  complete: z.boolean().meta({
    description: 'False: something may be missing, here or on a later page, for another reason than paging.',
  }),
  limited_by: z.string().nullable().meta({
    description:
      'What takes away beside OpenFGA: they are shut out, the registry of agents, a delegation that is over.',
  }),
  replica: replicaSchema,
  authorization_model_id: z.string(),
  ...neverHere,
  txn: z.string(),
})

/** What `POST /memberships` answers. */
export const membershipsAnswer = z.strictObject({
  memberships: z.array(
    z.strictObject({
      member: z
        .string()
        .meta({ description: 'The person; of a group also groups within it: `group:eng#member`.' }),
      relation: z.string(),
      group: z.string(),
      counts: z
        .enum(['allowed', 'denied', 'error'])
        .meta({ description: 'OpenFGA’s word, now: what has ended is denied.' }),
      via: z.string().nullable().meta({
        description: 'Of a person: through which groups; null where the replica shows none.',
        example: 'member of group:eng, member of group:staff',
      }),
      until: z.string().nullable().meta({ description: 'When what is stored ends.' }),
    }),
  ),
  cursor: z.string().nullable().meta({ description: 'Where the next page begins; null on the last.' }),
  complete: z.boolean().meta({
    description: 'False: something may be missing, here or on a later page, for another reason than paging.',
  }),
  replica: replicaSchema,
  authorization_model_id: z.string(),
  ...neverHere,
  txn: z.string(),
})

const holds = z.enum(['yes', 'no', 'cycle', 'error'])

/** One step of an explanation, without those below it. */
export const reasonStep = z.strictObject({
  kind: z.enum(['relation', 'rule', 'not', 'tuple', 'missing', 'self', 'cycle', 'depth', 'seen', 'cut']),
  holds,
  relation: z.string().optional(),
  object: z.string().optional(),
  rule: z.string().optional(),
  tuple: z.strictObject({ user: z.string(), relation: z.string(), object: z.string() }).optional(),
  source: z.enum(['stored', 'request']).optional(),
  written_at: z.string().optional(),
  condition: z
    .strictObject({
      name: z.string(),
      expression: z.string(),
      parameters: z.record(z.string(), z.unknown()),
      holds,
      until: z.string().optional().meta({ description: 'When it ends, or ended.' }),
      error: z.string().optional(),
    })
    .optional(),
  users: z.array(z.string()).optional().meta({ description: 'Whose tuple would have been needed.' }),
  count: z.int().optional(),
})

const verdict = z.enum(['allowed', 'denied', 'error'])

/** What `POST /explain` answers beside its tree of reasons. */
export const explainAnswer = z.strictObject({
  decision: verdict.meta({ description: 'OpenFGA’s own, asked past its caches.' }),
  explained: verdict.nullable().meta({ description: 'The replica’s; null where it cannot be used.' }),
  agrees: z.boolean().nullable(),
  in_words: z.string(),
  sides: z
    .strictObject({
      person: verdict,
      delegation: verdict,
      scope: verdict,
      sensitive: verdict,
      approval: verdict,
    })
    .optional(),
  registry: z
    .strictObject({
      collections: z.array(z.string()).nullable(),
      allows: z.boolean(),
      in_words: z.string(),
    })
    .optional()
    .meta({
      description: 'What the registry of agents takes away beside `decision`: a request is held to both.',
    }),
  closed: z.string().optional().meta({
    description: 'Why nobody reads the document now, whatever OpenFGA says: its source closes it.',
  }),
  /**
   * The service puts the whole tree here; a schema of steps within steps has one name in its OpenAPI
   * document.
   */
  reason: reasonStep.nullable(),
  cut: z.int().meta({ description: 'How many branches were left out.' }),
  error: z.string().optional(),
  at: z.string().meta({ description: 'The clock that conditions were evaluated with.' }),
  tuples: z.literal('current').meta({ description: 'Always today’s tuples, whatever `at` says.' }),
  replica: replicaSchema,
  authorization_model_id: z.string(),
  ...neverHere,
  txn: z.string(),
})

/** What an answer says of ids that were asked about and that nothing here has or had. */
export type NotHere = Wire<z.ZodObject<typeof neverHere>>

/** How far the replica that explains is behind OpenFGA. */
export type Replica = Wire<typeof replicaSchema>

/** One page of what `POST /who-can` answers. */
export type WhoCanPage = Wire<typeof whoCanAnswer>

/** One page of what `POST /view-as` answers. */
export type ViewAsPage = Wire<typeof viewAsAnswer>

/** One page of what `POST /memberships` answers. */
export type MembershipPage = Wire<typeof membershipsAnswer>

/** One step of an explanation. `because` holds the path that grants, or every branch that could have. */
export type Reason = Wire<typeof reasonStep> & { readonly because: readonly Reason[] }

/** What `POST /explain` answers. */
export type Explained = Omit<Wire<typeof explainAnswer>, 'reason'> & { readonly reason: Reason | null }
