import { z } from '@hono/zod-openapi'
import { whoCanAnswer } from '@remit/contract/explain'
import { text } from '@remit/contract/text'
import type { WhoCan, WhoCanPage, WhoCanQuestion } from '../../../authz/explain/who-can.ts'
import type { FgaObject } from '../../../kernel/ids.ts'
import type { App } from '../../env.ts'
import { type AnswerBody, type PagedDeps, pagedRoutes } from '../paged.ts'

export interface WhoCanRouteDeps extends PagedDeps {
  readonly whoCan: WhoCan
}

const body = z
  .strictObject({
    object: text(1, 300).openapi({ example: 'document:handbook/travel.md' }),
    relation: text(1, 60).openapi({ example: 'can_read' }),
    cursor: text(1, 2_000).optional(),
    limit: z.int().min(1).max(200).default(200),
  })
  .openapi('WhoCanRequest')

const answer = whoCanAnswer.clone().openapi('WhoCanAnswer')

/** `POST /who-can`: the people who have a relation to an object; for administrators, and on record. */
export function whoCanRoutes(dependencies: WhoCanRouteDeps): App {
  return pagedRoutes(dependencies, {
    path: '/who-can',
    summary: 'The people who have a relation to an object, and how each gets it',
    body,
    answer,
    names: ({ object }) => [object],
    ask: (principal, question, options) => dependencies.whoCan(principal, toQuestion(question), options),
    toWire,
  })
}

const toQuestion = ({ object, cursor, ...fields }: z.output<typeof body>): WhoCanQuestion => ({
  ...fields,
  // Its form is checked with the question.
  object: object as FgaObject,
  ...(cursor !== undefined && { cursor }),
})

const toWire = ({ entries }: WhoCanPage): AnswerBody<z.output<typeof answer>> => ({
  subjects: entries.map(({ kind, user, via }) => ({ kind, user, via: via ?? null })),
})
