import { z } from '@hono/zod-openapi'
import { isId } from '@remit/contract/id'
import { named, text } from '@remit/contract/text'
import type { Tuple, TupleKey } from '../../../authz/fga.ts'
import type { Caller } from '../../../ingest/access-rights.ts'
import type { Ingest } from '../../../ingest/ingest.ts'
import { type FgaObject, splitObject } from '../../../kernel/ids.ts'
import type { Principal } from '../../../kernel/principal.ts'
import { type App, createRouter, reply } from '../../env.ts'
import type { RequireBearer } from '../../middleware/bearer.ts'
import { jsonBody } from '../../middleware/json.ts'
import { answerOf, bearerRoute, bodyOf, id, json, objectOf, problems } from '../../schemas.ts'
import { assertAdministrator, type IsAdministrator, notesSchema, notesToWire } from '../writing.ts'

export interface DeclarationRouteDeps {
  readonly ingest: Ingest
  readonly requireBearer: RequireBearer
  readonly isAdministrator: IsAdministrator
  readonly now: () => number
}

const bodyBytesMax = 64 * 1024
const isService = (value: string): boolean =>
  value.startsWith('service:') && isId(value.slice('service:'.length))
const services = z.array(z.string().refine(isService, 'must be service:NAME')).max(100)

const collection = objectOf('CollectionInput', {
  title: text(1, 200),
  organization: id.optional(),
  public_allowed: z.boolean().default(false),
  writers: services.optional(),
  taggers: services.optional(),
})

const collectionSaved = answerOf('CollectionSaved', {
  id: z.string(),
  title: z.string(),
  public_allowed: z.boolean(),
})

const fields = named(
  z.enum(['string', 'number', 'boolean', 'date'], 'must be string, number, boolean or date'),
  200,
)

const fieldsAnswer = answerOf('Fields', { fields })

/**
 * What an administrator declares. `PUT /collections/{id}`: lists that are left out stay as they are.
 * `/fields`: the metadata fields that filters may use, one list for the deployment; PUT replaces it.
 */
export function declarationRoutes(dependencies: DeclarationRouteDeps): App {
  const { ingest, requireBearer, isAdministrator, now } = dependencies
  const asWriter = requireBearer({ kinds: ['person'], scopes: ['security.write'] })
  const collectionRoute = bearerRoute('put', '/collections/{id}', {
    summary: 'Make or change a collection and say which services write to it',
    middleware: [asWriter, ...jsonBody(bodyBytesMax)],
    request: { params: z.strictObject({ id }), body: bodyOf(collection) },
    responses: { 200: json('Saved', collectionSaved), ...problems() },
  })
  const responses = { 200: json('The list in force', fieldsAnswer), ...problems() }
  // Only for whom PUT is for: what fields are called may tell what documents are about.
  const fieldsRoute = bearerRoute('get', '/fields', {
    summary: 'The metadata fields that filters may use',
    middleware: [asWriter],
    responses,
  })
  const declareRoute = bearerRoute('put', '/fields', {
    summary: 'Declare the metadata fields that filters may use',
    description: 'The whole list: a field that is left out is declared no more.',
    middleware: [asWriter, ...jsonBody(bodyBytesMax)],
    request: { body: bodyOf(fields) },
    responses,
  })
  return createRouter()
    .openapi(collectionRoute, async (c) => {
      await assertAdministrator(c.get('principal'), isAdministrator, now())
      const { id } = c.req.valid('param')
      const { title, organization, public_allowed, writers, taggers } = c.req.valid('json')
      const input = {
        id,
        title,
        publicAllowed: public_allowed,
        ...(organization !== undefined && { organization }),
        ...(writers !== undefined && { writers }),
        ...(taggers !== undefined && { taggers }),
      }
      await ingest.saveCollection(c.get('principal'), input, c.get('over'))
      return reply(c, { id, title, public_allowed })
    })
    .openapi(fieldsRoute, async (c) => {
      await assertAdministrator(c.get('principal'), isAdministrator, now())
      return reply(c, { fields: Object.fromEntries(await ingest.fields()) })
    })
    .openapi(declareRoute, async (c) => {
      await assertAdministrator(c.get('principal'), isAdministrator, now())
      const list = c.req.valid('json')
      await ingest.saveFields({ ...c.get('principal'), over: c.get('over') }, list)
      return reply(c, { fields: list })
    })
}

export interface AccessRouteDeps {
  readonly ingest: Ingest
  readonly requireBearer: RequireBearer
  readonly isAdministrator: IsAdministrator
  /** Beginnings of the group and organization ids that a registered service may write. */
  readonly prefixesOf: (service: string) => Promise<readonly string[]>
  readonly now: () => number
}

const changeBytesMax = 256 * 1024

// Whether a tuple fits the model is for the allow-list to say: here it only has the shape of one.
const keyMembers = { user: text(1, 600), relation: text(1, 60), object: text(1, 300) }
const condition = z.strictObject({ name: text(1, 60), context: z.record(text(1, 60), z.unknown()) })
const accessChange = objectOf('AccessChange', {
  writes: z.array(z.strictObject({ ...keyMembers, condition: condition.optional() })).default([]),
  deletes: z.array(z.strictObject(keyMembers)).default([]),
})

const accessAnswer = answerOf('AccessAnswer', { notes: notesSchema })

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
      ...jsonBody(changeBytesMax),
    ],
    request: { body: bodyOf(accessChange) },
    responses: { 200: json('In force', accessAnswer), ...problems(409) },
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

const toTuple = ({ condition, ...tuple }: z.output<typeof accessChange>['writes'][number]): Tuple => ({
  ...toKey(tuple),
  // The allow-list checks its name and members before anything is done with it.
  ...(condition !== undefined && { condition: condition as Tuple['condition'] & object }),
})
