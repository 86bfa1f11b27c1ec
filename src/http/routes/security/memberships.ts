import { z } from '@hono/zod-openapi'
import { text } from '@remit/contract/text'
import type { MembershipPage, MembershipQuestion, Memberships } from '../../../authz/explain/memberships.ts'
import type { FgaObject } from '../../../kernel/ids.ts'
import type { App } from '../../env.ts'
import { type OwnPart, type PagedDeps, pagedRoutes } from '../paged.ts'
import { neverHere, replicaSchema } from '../reading.ts'

export interface MembershipRouteDeps extends PagedDeps {
  readonly memberships: Memberships
}

const body = z
  .strictObject({
    user: text(1, 300)
      .optional()
      .openapi({ example: 'user:anne', description: 'In which groups this person is' }),
    group: text(1, 300)
      .optional()
      .openapi({ example: 'group:eng', description: 'Or whom this group holds; exactly one of both' }),
    cursor: text(1, 2_000).optional(),
    limit: z.int().min(1).max(200).default(200),
  })
  .refine(({ user, group }) => (user === undefined) !== (group === undefined), {
    message: 'name either user or group',
    path: ['user'],
  })
  .openapi('MembershipsRequest')

const answer = z
  .strictObject({
    memberships: z.array(
      z.strictObject({
        member: z
          .string()
          .openapi({ description: 'The person; of a group also groups within it: `group:eng#member`.' }),
        relation: z.string(),
        group: z.string(),
        counts: z
          .enum(['allowed', 'denied', 'error'])
          .openapi({ description: 'OpenFGA’s word, now: what has ended is denied.' }),
        via: z.string().nullable().openapi({
          description: 'Of a person: through which groups; null where the replica shows none.',
          example: 'member of group:eng, member of group:staff',
        }),
        until: z.string().nullable().openapi({ description: 'When what is stored ends.' }),
      }),
    ),
    cursor: z.string().nullable().openapi({ description: 'Where the next page begins; null on the last.' }),
    complete: z.boolean().openapi({
      description:
        'False: something may be missing, here or on a later page, for another reason than paging.',
    }),
    replica: replicaSchema,
    authorization_model_id: z.string(),
    ...neverHere,
    txn: z.string(),
  })
  .openapi('MembershipsAnswer')

/** `POST /memberships`: a person's groups, or a group's members; for administrators, and on record. */
export function membershipRoutes(deps: MembershipRouteDeps): App {
  return pagedRoutes(deps, {
    path: '/memberships',
    summary: 'In which groups a person is and through which, or whom a group holds',
    body,
    answer,
    names: ({ user, group }) => [user, group],
    ask: (principal, asked, options) => deps.memberships(principal, toQuestion(asked), options),
    toWire,
  })
}

// Their form is checked with the question.
const toQuestion = ({ user, group, cursor, limit }: z.output<typeof body>): MembershipQuestion => ({
  of: user === undefined ? { group: group as FgaObject } : { user: user as FgaObject },
  limit,
  ...(cursor !== undefined && { cursor }),
})

const toWire = ({ memberships }: MembershipPage): OwnPart<z.output<typeof answer>> => ({
  memberships: memberships.map(({ verdict, via, until, ...rest }) => ({
    ...rest,
    counts: verdict,
    via: via ?? null,
    until: until ?? null,
  })),
})
