import { z } from '@hono/zod-openapi'
import { membershipsAnswer } from '@remit/contract/explain'
import { text } from '@remit/contract/text'
import type { MembershipPage, MembershipQuestion, Memberships } from '../../../authz/explain/memberships.ts'
import type { FgaObject } from '../../../kernel/ids.ts'
import type { App } from '../../env.ts'
import { type AnswerBody, type PagedDeps, pagedRoutes } from '../paged.ts'

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

const answer = membershipsAnswer.clone().openapi('MembershipsAnswer')

/** `POST /memberships`: a person's groups, or a group's members; for administrators, and on record. */
export function membershipRoutes(dependencies: MembershipRouteDeps): App {
  return pagedRoutes(dependencies, {
    path: '/memberships',
    summary: 'In which groups a person is and through which, or whom a group holds',
    body,
    answer,
    names: ({ user, group }) => [user, group],
    ask: (principal, question, options) => dependencies.memberships(principal, toQuestion(question), options),
    toWire,
  })
}

// Their form is checked with the question.
const toQuestion = ({ user, group, cursor, limit }: z.output<typeof body>): MembershipQuestion => ({
  of: user === undefined ? { group: group as FgaObject } : { user: user as FgaObject },
  limit,
  ...(cursor !== undefined && { cursor }),
})

const toWire = ({ memberships }: MembershipPage): AnswerBody<z.output<typeof answer>> => ({
  memberships: memberships.map(({ verdict, via, until: endTime, ...membership }) => ({
    ...membership,
    counts: verdict,
    via: via ?? null,
    until: endTime ?? null,
  })),
})
