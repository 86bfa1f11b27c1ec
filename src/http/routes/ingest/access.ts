import { z } from '@hono/zod-openapi'
import { text } from '@remit/contract/text'
import type { Tuple, TupleKey } from '../../../authz/fga.ts'
import type { Caller } from '../../../ingest/access-rights.ts'
import type { Ingest } from '../../../ingest/ingest.ts'
import { type FgaObject, splitObject } from '../../../kernel/ids.ts'
import type { Principal } from '../../../kernel/principal.ts'
import { type App, createRouter, reply } from '../../env.ts'
import type { RequireBearer } from '../../middleware/bearer.ts'
import { jsonBody } from '../../middleware/json.ts'
import { answerOf, bearerRoute, bodyOf, json, objectOf, problems } from '../../schemas.ts'
import { assertAdministrator, type IsAdministrator, notesSchema, notesToWire } from '../writing.ts'

export interface AccessRouteDeps {
  readonly ingest: Ingest
  readonly requireBearer: RequireBearer
  readonly isAdministrator: IsAdministrator
  /** Beginnings of the group and organization ids that a registered service may write. */
  readonly prefixesOf: (service: string) => Promise<readonly string[]>
  readonly now: () => number
}

const bodyBytesMax = 256 * 1024

// Whether a tuple fits the model is for the allow-list to say: here it only has the shape of one.
const key = { user: text(1, 600), relation: text(1, 60), object: text(1, 300) }
const condition = z.strictObject({ name: text(1, 60), context: z.record(text(1, 60), z.unknown()) })
const body = objectOf('AccessChange', {
  writes: z.array(z.strictObject({ ...key, condition: condition.optional() })).default([]),
  deletes: z.array(z.strictObject(key)).default([]),
})

const answer = answerOf('AccessAnswer', { notes: notesSchema })

/** `POST /access`: tuples by the allow-list, in force when this is answered. */
export function accessRoutes(dependencies: AccessRouteDeps): App {
  const route = bearerRoute('post', '/access', {
    summary: 'Write and delete relationship tuples that the caller may touch',
    middleware: [
      dependencies.requireBearer({
        kinds: ['service', 'person'],
        scopes: [],
        anyOf: ['docs.write', 'directory.write', 'security.write'],
      }),
      ...jsonBody(bodyBytesMax),
    ],
    request: { body: bodyOf(body) },
    responses: { 200: json('In force', answer), ...problems(409) },
  })
  return createRouter().openapi(route, async (c) => {
    const caller = await callerOf(c.get('principal'), dependencies)
    const { writes, deletes } = c.req.valid('json')
    const change = { writes: writes.map(toTuple), deletes: deletes.map(toKey) }
    const notes = await dependencies.ingest.changeAccess(caller, change, c.get('over'))
    return reply(c, { notes: notesToWire(notes) })
  })
}

async function callerOf(
  principal: Principal,
  { isAdministrator, prefixesOf, now }: AccessRouteDeps,
): Promise<Caller> {
  const { kind, scopes } = principal
  // With one of the scopes that its kind may hold: nobody else comes this far.
  if (kind === 'service') {
    return { kind, writer: principal, scopes, prefixes: await prefixesOf(splitObject(principal.subject).id) }
  }
  await assertAdministrator(principal, isAdministrator, now())
  return { kind: 'administrator', writer: principal }
}

const toKey = ({ user, relation, object }: { user: string; relation: string; object: string }): TupleKey => ({
  user,
  relation,
  object: object as FgaObject,
})

const toTuple = ({ condition, ...tuple }: z.output<typeof body>['writes'][number]): Tuple => ({
  ...toKey(tuple),
  // The allow-list checks its name and members before anything is done with it.
  ...(condition !== undefined && { condition: condition as Tuple['condition'] & object }),
})
