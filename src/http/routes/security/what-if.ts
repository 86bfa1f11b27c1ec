import { z } from '@hono/zod-openapi'
import { text } from '@remit/contract/text'
import { type tupleLines, whatIfAnswer, whatIfDifference } from '@remit/contract/what-if'
import type { Difference, WhatIf, WhatIfAnswer, WhatIfQuestion } from '../../../authz/what-if/what-if.ts'
import { AppError } from '../../../kernel/errors.ts'
import type { Principal } from '../../../kernel/principal.ts'
import { type App, createRouter } from '../../env.ts'
import type { RequireBearer } from '../../middleware/bearer.ts'
import { jsonBody } from '../../middleware/json.ts'
import { bearerRoute, bodyOf, id, json, problems } from '../../schemas.ts'
import { replicaToWire } from '../reading.ts'
import { assertAdministrator, type IsAdministrator } from '../writing.ts'

export interface WhatIfRouteDeps {
  readonly whatIf: WhatIf
  readonly requireBearer: RequireBearer
  /** Of the role `security.read`. */
  readonly isReader: IsAdministrator
  /** Of the role `security.write`: asked where the model is changed. */
  readonly isWriter: IsAdministrator
  readonly now: () => number
}

const bodyBytesMax = 640 * 1024
const modelMax = 256 * 1024
const tuplesMax = 100

const key = {
  user: text(1, 600).openapi({ example: 'user:anne' }),
  relation: text(1, 60).openapi({ example: 'member' }),
  object: text(1, 300).openapi({ example: 'group:finance' }),
}
const condition = z.strictObject({ name: text(1, 60), context: z.record(text(1, 60), z.unknown()) })
const write = z.strictObject({ ...key, condition: condition.optional() })
const body = z
  .strictObject({
    writes: z.array(write).max(tuplesMax).default([]),
    deletes: z.array(z.strictObject(key)).max(tuplesMax).default([]),
    model: text(1, modelMax).optional().openapi({
      description:
        'A changed model, in OpenFGA’s language. It takes `security.write` in place of `security.read`.',
    }),
    question: z
      .strictObject({
        people: z
          .array(text(1, 300))
          .min(1)
          .max(100)
          .optional()
          .openapi({ example: ['user:anne'] }),
        documents: z.array(id).min(1).max(1_000).optional(),
      })
      .optional()
      .openapi({ description: 'Only about these. Left out: everybody, and every document.' }),
  })
  .refine(({ writes, deletes, model }) => writes.length + deletes.length > 0 || model !== undefined, {
    message: 'name writes, deletes or a model',
    path: ['writes'],
  })
  .refine(({ writes, deletes }) => writes.length + deletes.length <= tuplesMax, {
    message: `at most ${tuplesMax} tuples together`,
    path: ['writes'],
  })
  .openapi('WhatIfRequest')

const difference = whatIfDifference.clone().openapi('WhatIfDifference')
const change = z.strictObject({ gained: difference, lost: difference })
const answer = whatIfAnswer
  .extend({
    can_read: change.openapi({ description: 'People by themselves' }),
    can_read_delegated: change.openapi({ description: 'Agents for people, under each live delegation' }),
  })
  .openapi('WhatIfAnswer')

/**
 * `POST /what-if`: who would gain and lose which documents; for administrators, and on record. Nothing is
 * changed.
 */
export function whatIfRoutes(dependencies: WhatIfRouteDeps): App {
  const route = bearerRoute('post', '/what-if', {
    summary: 'Who would gain and lose which documents by changed tuples, a changed model, or both',
    middleware: [
      dependencies.requireBearer({
        kinds: ['person'],
        scopes: [],
        anyOf: ['security.read', 'security.write'],
      }),
      ...jsonBody(bodyBytesMax),
    ],
    request: { body: bodyOf(body) },
    responses: { 200: json('What would be', answer), ...problems() },
  })
  return createRouter().openapi(route, async (c) => {
    const principal = c.get('principal')
    const question = c.req.valid('json')
    await assertMayAsk(principal, question.model !== undefined, dependencies)
    const { signal } = c.get('deadline')
    const found = await dependencies.whatIf(principal, toQuestion(question), { signal })
    return c.json(toWire(found, c.get('txn')), 200)
  })
}

async function assertMayAsk(
  principal: Principal,
  changesModel: boolean,
  { isReader, isWriter, now }: WhatIfRouteDeps,
): Promise<void> {
  const scope = changesModel ? 'security.write' : 'security.read'
  if (!principal.scopes.has(scope))
    throw new AppError('insufficient_scope', { challenge: { scopes: [scope] } })
  await assertAdministrator(principal, changesModel ? isWriter : isReader, now())
}

const toQuestion = ({ writes, deletes, model, question }: z.output<typeof body>): WhatIfQuestion => ({
  // What came as JSON is JSON.
  writes: writes as WhatIfQuestion['writes'],
  deletes,
  ...(model !== undefined && { model }),
  ...(question?.people && { people: question.people }),
  ...(question?.documents && { documents: question.documents }),
})

const differenceToWire = ({ count, people, documents, samples, collections }: Difference) => ({
  count,
  people,
  documents,
  samples: samples.map(({ asker: { who: askerId, user, agent, delegation }, document }) => ({
    who: askerId,
    document_id: document,
    user: askerId === 'anyone' ? null : user,
    agent: agent ?? null,
    delegation_id: delegation ?? null,
  })),
  collections: collections.map(({ collection, ...counts }) => ({
    collection: collection ?? null,
    ...counts,
  })),
})

const changeToWire = ({ gained, lost }: WhatIfAnswer['changes']['can_read']) => ({
  gained: differenceToWire(gained),
  lost: differenceToWire(lost),
})

const toLines = (tuples: WhatIfAnswer['unchanged']['deletes']): z.output<typeof tupleLines> =>
  tuples.map(({ user, relation, object }) => ({ user, relation, object }))

const toWire = (found: WhatIfAnswer, txn: string): z.output<typeof answer> => ({
  complete: found.limitedBy.length === 0,
  limited_by: [...found.limitedBy],
  can_read: changeToWire(found.changes.can_read),
  can_read_delegated: changeToWire(found.changes.can_read_delegated),
  asked: found.asked,
  unanswered: found.unanswered,
  unchanged: { writes: toLines(found.unchanged.writes), deletes: toLines(found.unchanged.deletes) },
  nobody_may_write: toLines(found.nobodyMayWrite),
  at: new Date(found.at).toISOString(),
  replica: replicaToWire(found.replica),
  watermark: { read_to: new Date(found.readTo).toISOString(), tuples: found.tuples },
  authorization_model_id: found.modelId,
  candidate_digest: found.candidate ?? null,
  txn,
})
