import { createRoute } from '@hono/zod-openapi'
import { answerSchema, questionSchema } from '@remit/contract/retrieval-schemas'
import type { Retriever } from '../../../retrieval/retrieve.ts'
import { toAnswer } from '../../../retrieval/wire/answer.ts'
import { toQuestion } from '../../../retrieval/wire/question.ts'
import { type App, createRouter } from '../../env.ts'
import type { RequireBearer } from '../../middleware/bearer.ts'
import { endInTime } from '../../middleware/frame.ts'
import { jsonBody } from '../../middleware/json.ts'
import { bearer, problems } from '../../schemas.ts'

const bodyBytesMax = 256 * 1024

// Made anew: only what is made after the library extended zod can be named in the contract.
const body = questionSchema.clone().openapi('RetrieveRequest')
const answer = answerSchema.clone().openapi('RetrieveAnswer')

export interface RetrieveRouteDeps {
  readonly retrieve: Retriever
  readonly requireBearer: RequireBearer
  /** Milliseconds that the permission index is behind at most. */
  readonly indexLagMs: () => number
}

/** `POST /retrieve`: passages that the person may read, within what was lent to the agent. */
export function retrieveRoutes({ retrieve, requireBearer, indexLagMs }: RetrieveRouteDeps): App {
  const route = createRoute({
    method: 'post',
    path: '/retrieve',
    summary: 'Passages that answer a question and that the person may read',
    security: bearer,
    middleware: [
      endInTime,
      requireBearer({ kinds: ['person', 'agent'], scopes: ['docs.search'] }),
      ...jsonBody(bodyBytesMax),
    ] as const,
    request: { body: { required: true, content: { 'application/json': { schema: body } } } },
    responses: {
      200: {
        description:
          'The passages, best first. They may all be far from the question: “Nothing relevant” in docs/client-options.md',
        content: { 'application/json': { schema: answer } },
      },
      ...problems(),
    },
  })
  return createRouter().openapi(route, async (c) => {
    const found = await retrieve(c.get('principal'), toQuestion(c.req.valid('json')), c.get('deadline'))
    return c.json(toAnswer(found, indexLagMs(), c.get('txn')), 200)
  })
}
