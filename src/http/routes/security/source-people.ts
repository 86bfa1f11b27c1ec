import { z } from '@hono/zod-openapi'
import {
  personState,
  sourcePeopleAction,
  sourcePeopleAnswer,
  sourcePerson,
} from '@remit/contract/source-people'
import type { Principal } from '../../../kernel/principal.ts'
import type { SourcePeople } from '../../../sources/people/people.ts'
import type { SourcePerson } from '../../../sources/people/rows.ts'
import { type App, createRouter, reply } from '../../env.ts'
import type { RequireBearer } from '../../middleware/bearer.ts'
import { jsonBody } from '../../middleware/json.ts'
import { bearerRoute, bodyOf, id as contractId, json, problems } from '../../schemas.ts'
import { assertAdministrator, type IsAdministrator } from '../writing.ts'

export interface SourcePeopleRouteDeps {
  readonly people: SourcePeople
  readonly requireBearer: RequireBearer
  /** Of the role `security.write`. */
  readonly isAdministrator: IsAdministrator
  readonly now: () => number
}

const bodyBytesMax = 1024 * 1024
const pageMax = 1_000

const personShown = sourcePerson.clone().openapi('SourcePerson')
const read = sourcePeopleAnswer.extend({ people: z.array(personShown) }).openapi('SourcePeople')
const action = sourcePeopleAction.clone().openapi('SourcePeopleAction')
const params = z.strictObject({ id: contractId })
const query = z.strictObject({
  state: personState.optional().openapi({ description: 'Those alone that stand so' }),
  // No text that Postgres does not take.
  after: z
    .string()
    .max(500)
    .refine((text) => text.isWellFormed() && !text.includes('\0'))
    .optional()
    .openapi({ description: 'Accounts whose id comes after this one' }),
  limit: z.coerce.number().int().min(1).max(pageMax).default(100),
})

/**
 * `GET /sources/{id}/people`, `POST /sources/{id}/people`: for a person who is an administrator with
 * `security.write` and signed in within 15 minutes.
 */
export function sourcePeopleRoutes({
  people,
  requireBearer,
  isAdministrator,
  now,
}: SourcePeopleRouteDeps): App {
  const administrator = requireBearer({ kinds: ['person'], scopes: ['security.write'] })
  const readRoute = bearerRoute('get', '/sources/{id}/people', {
    summary: 'Who the accounts of a source are, which of them are nobody, and why',
    middleware: [administrator],
    request: { params, query },
    responses: { 200: json('By the ids of the accounts', read), ...problems(404) },
  })
  const actRoute = bearerRoute('post', '/sources/{id}/people', {
    summary:
      'Say who accounts of a source are, confirm what another administrator said, or suspend an account',
    middleware: [administrator, ...jsonBody(bodyBytesMax)],
    request: { params, body: bodyOf(action) },
    responses: { 200: json('As it stands now', read), ...problems(404, 409) },
  })

  const answerOf = async (
    principal: Principal,
    source: string,
    page: z.output<typeof query>,
  ): Promise<Omit<z.output<typeof read>, 'txn'>> => {
    const found = await people.read(principal, source, page)
    const { proposed } = found
    return {
      counts: found.counts,
      people: found.people.map(toWire),
      proposed: proposed
        ? {
            people: proposed.people.map(({ account, subject }) => ({ account, subject })),
            proposed_by: proposed.proposedBy,
            digest: proposed.digest,
          }
        : null,
      next: found.people.length < page.limit ? null : (found.people.at(-1)?.account ?? null),
    }
  }

  return createRouter()
    .openapi(readRoute, async (c) => {
      const principal = c.get('principal')
      await assertAdministrator(principal, isAdministrator, now())
      return reply(c, await answerOf(principal, c.req.valid('param').id, c.req.valid('query')))
    })
    .openapi(actRoute, async (c) => {
      const principal = c.get('principal')
      await assertAdministrator(principal, isAdministrator, now())
      const { id } = c.req.valid('param')
      await act(people, principal, id, c.req.valid('json'))
      return reply(c, await answerOf(principal, id, { limit: pageMax, state: 'suspended' }))
    })
}

function act(
  people: SourcePeople,
  principal: Principal,
  source: string,
  request: z.output<typeof action>,
): Promise<void> {
  switch (request.action) {
    case 'propose':
      return people.propose(principal, source, request.people)
    case 'confirm':
      return people.confirm(principal, source, request.digest)
    case 'suspend':
      return people.suspend(principal, source, request.account)
  }
}

const toWire = (person: SourcePerson): z.output<typeof personShown> => ({
  account: person.account,
  name: person.name ?? null,
  address: person.address ?? null,
  state: person.state,
  subject: person.subject ?? null,
  linked_by: person.linkedBy ?? null,
  reason: person.reason ?? null,
  held: person.isHeld,
  gone: !person.isTold,
  changed_at: person.changedAt.toISOString(),
})
