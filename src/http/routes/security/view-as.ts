import { z } from '@hono/zod-openapi'
import { viewAsAnswer } from '@remit/contract/explain'
import { text } from '@remit/contract/text'
import type { ViewAs, ViewAsPage, ViewAsQuestion } from '../../../authz/explain/view-as.ts'
import type { FgaObject } from '../../../kernel/ids.ts'
import type { App } from '../../env.ts'
import { id } from '../../schemas.ts'
import { type AnswerBody, type PagedDeps, pagedRoutes } from '../paged.ts'

export interface ViewAsRouteDeps extends PagedDeps {
  readonly viewAs: ViewAs
}

const body = z
  .strictObject({
    user: text(1, 300).openapi({ example: 'user:anne' }),
    agent: id.optional().openapi({ example: 'research-bot' }),
    delegation: id.optional(),
    collection: id.optional().openapi({ description: 'Only what is filed there' }),
    cursor: text(1, 2_000).optional(),
    limit: z.int().min(1).max(200).default(100).openapi({ description: 'Documents asked about for a page' }),
  })
  .openapi('ViewAsRequest')

const answer = viewAsAnswer.clone().openapi('ViewAsAnswer')

/** `POST /view-as`: what somebody would be given; for administrators, and on record. Ids alone: it opens nothing. */
export function viewAsRoutes(dependencies: ViewAsRouteDeps): App {
  return pagedRoutes(dependencies, {
    path: '/view-as',
    summary: 'The documents that a person may read, by themselves or through an agent, and how',
    body,
    answer,
    names: ({ user, agent, collection }) => [
      user,
      agent && `agent:${agent}`,
      collection && `collection:${collection}`,
    ],
    ask: (principal, question, options) => dependencies.viewAs(principal, toQuestion(question), options),
    toWire,
  })
}

const toQuestion = ({
  user,
  agent,
  delegation,
  collection,
  cursor,
  limit,
}: z.output<typeof body>): ViewAsQuestion => ({
  // Its form is checked with the question.
  user: user as FgaObject,
  limit,
  ...(agent !== undefined && { agent }),
  ...(delegation !== undefined && { delegation }),
  ...(collection !== undefined && { collection }),
  ...(cursor !== undefined && { cursor }),
})

const toWire = ({ documents, limitedBy }: ViewAsPage): AnswerBody<z.output<typeof answer>> => ({
  documents: documents.map(({ id: document, collection, via }) => ({
    document_id: document,
    collection,
    via: via ?? null,
  })),
  limited_by: limitedBy ?? null,
})
