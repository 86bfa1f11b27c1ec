import { z } from '@hono/zod-openapi'
import {
  answerSchema,
  approval as approvalParameter,
  collectionListSchema,
  documentSchema,
  questionSchema,
} from '@remit/contract/retrieval-schemas'
import type { CollectionLister } from '../../../retrieval/collections.ts'
import type { DocumentReader } from '../../../retrieval/document.ts'
import type { Retriever } from '../../../retrieval/retrieve.ts'
import { toAnswer, toCollectionList, toDocument } from '../../../retrieval/wire/answer.ts'
import { toQuestion } from '../../../retrieval/wire/question.ts'
import { type App, createRouter } from '../../env.ts'
import type { RequireBearer } from '../../middleware/bearer.ts'
import { endInTime } from '../../middleware/frame.ts'
import { jsonBody } from '../../middleware/json.ts'
import { bearerRoute, bodyOf, id, json, problems } from '../../schemas.ts'

const bodyBytesMax = 256 * 1024

// Made anew: only what is made after the library extended zod can be named in the contract.
const body = questionSchema.clone().openapi('RetrieveRequest')
const answer = answerSchema.clone().openapi('RetrieveAnswer')
const approval = approvalParameter.clone()
const document = documentSchema.clone().openapi('Document')
const list = collectionListSchema.clone().openapi('CollectionList')

export interface RetrievalRouteDeps {
  readonly retrieve: Retriever
  readonly readDocument: DocumentReader
  readonly listCollections: CollectionLister
  readonly requireBearer: RequireBearer
  /** Milliseconds that the permission index is behind at most. */
  readonly indexLagMs: () => number
}

/**
 * `POST /retrieve`: passages that the person may read, within what was lent to the agent.
 * `GET /documents/{id}`: the whole text if cleared; 403 `approval_required` to an agent that may be told of
 * it and may ask; else the same 404 as for a missing one. `GET /collections`: those in which this principal
 * was just cleared for at least one document.
 */
export function retrievalRoutes(dependencies: RetrievalRouteDeps): App {
  const { retrieve, readDocument, listCollections, requireBearer, indexLagMs } = dependencies
  const searcher = requireBearer({ kinds: ['person', 'agent'], scopes: ['docs.search'] })
  const reader = requireBearer({ kinds: ['person', 'agent'], scopes: ['docs.read'] })
  const retrieveRoute = bearerRoute('post', '/retrieve', {
    summary: 'Passages that answer a question and that the person may read',
    middleware: [endInTime, searcher, ...jsonBody(bodyBytesMax)],
    request: { body: bodyOf(body) },
    responses: {
      200: json(
        'The passages, best first. They may all be far from the question: “Nothing relevant” in docs/client-options.md',
        answer,
      ),
      ...problems(),
    },
  })
  const documentRoute = bearerRoute('get', '/documents/{id}', {
    summary: 'One document, whole',
    middleware: [endInTime, reader],
    request: { params: z.strictObject({ id }), query: z.strictObject({ approval: approval.optional() }) },
    responses: { 200: json('The document', document), ...problems(404) },
  })
  const collectionsRoute = bearerRoute('get', '/collections', {
    summary: 'Collections with something to read for this person',
    middleware: [endInTime, searcher],
    responses: { 200: json('The collections', list), ...problems() },
  })
  return createRouter()
    .openapi(retrieveRoute, async (c) => {
      const found = await retrieve(c.get('principal'), toQuestion(c.req.valid('json')), c.get('deadline'))
      return c.json(toAnswer(found, indexLagMs(), c.get('txn')), 200)
    })
    .openapi(documentRoute, async (c) => {
      const { approval: grant } = c.req.valid('query')
      const found = await readDocument(c.get('principal'), c.req.valid('param').id, c.get('deadline'), grant)
      return c.json(toDocument(found, c.get('txn')), 200)
    })
    .openapi(collectionsRoute, async (c) => {
      const listed = await listCollections(c.get('principal'), c.get('deadline'))
      return c.json(toCollectionList(listed, c.get('txn')), 200)
    })
}
