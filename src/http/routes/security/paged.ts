import { z } from '@hono/zod-openapi'
import { membershipsAnswer, viewAsAnswer, whoCanAnswer } from '@remit/contract/explain'
import { text } from '@remit/contract/text'
import type { MembershipPage, MembershipQuestion, Memberships } from '../../../authz/explain/memberships.ts'
import type { ReplicaState } from '../../../authz/explain/replica.ts'
import type { ViewAs, ViewAsPage, ViewAsQuestion } from '../../../authz/explain/view-as.ts'
import type { WhoCan, WhoCanPage, WhoCanQuestion } from '../../../authz/explain/who-can.ts'
import type { FgaObject } from '../../../kernel/ids.ts'
import type { Principal } from '../../../kernel/principal.ts'
import { type App, createRouter } from '../../env.ts'
import { bearerRoute, bodyOf, id, json, problems } from '../../schemas.ts'
import { type Asking, neverHereToWire, replicaToWire } from '../reading.ts'

export interface PagedRouteDeps extends Asking {
  readonly viewAs: ViewAs
  readonly memberships: Memberships
  readonly whoCan: WhoCan
}

const cursor = text(1, 2_000).optional()
const limitOf = (byDefault: number) => z.int().min(1).max(200).default(byDefault)

const viewAsBody = z
  .strictObject({
    user: text(1, 300).openapi({ example: 'user:anne' }),
    agent: id.optional().openapi({ example: 'research-bot' }),
    delegation: id.optional(),
    collection: id.optional().openapi({ description: 'Only what is filed there' }),
    cursor,
    limit: limitOf(100).openapi({ description: 'Documents asked about for a page' }),
  })
  .openapi('ViewAsRequest')

const membershipsBody = z
  .strictObject({
    user: text(1, 300)
      .optional()
      .openapi({ example: 'user:anne', description: 'In which groups this person is' }),
    group: text(1, 300)
      .optional()
      .openapi({ example: 'group:eng', description: 'Or whom this group holds; exactly one of both' }),
    cursor,
    limit: limitOf(200),
  })
  .refine(({ user, group }) => (user === undefined) !== (group === undefined), {
    message: 'name either user or group',
    path: ['user'],
  })
  .openapi('MembershipsRequest')

const whoCanBody = z
  .strictObject({
    object: text(1, 300).openapi({ example: 'document:handbook/travel.md' }),
    relation: text(1, 60).openapi({ example: 'can_read' }),
    cursor,
    limit: limitOf(200),
  })
  .openapi('WhoCanRequest')

/** The questions of security teams that are answered in pages; for administrators, and on record. */
export const pagedRoutes = (dependencies: PagedRouteDeps): readonly App[] => [
  // What somebody would be given. Ids alone: it opens nothing.
  pagedRoute(dependencies, {
    path: '/view-as',
    summary: 'The documents that a person may read, by themselves or through an agent, and how',
    body: viewAsBody,
    answer: viewAsAnswer.clone().openapi('ViewAsAnswer'),
    names: ({ user, agent, collection }) => [
      user,
      agent && `agent:${agent}`,
      collection && `collection:${collection}`,
    ],
    ask: (principal, body, options) => dependencies.viewAs(principal, toViewAs(body), options),
    toWire: ({ documents, limitedBy }: ViewAsPage) => ({
      documents: documents.map(({ id: document, collection, via }) => ({
        document_id: document,
        collection,
        via: via ?? null,
      })),
      limited_by: limitedBy ?? null,
    }),
  }),
  pagedRoute(dependencies, {
    path: '/memberships',
    summary: 'In which groups a person is and through which, or whom a group holds',
    body: membershipsBody,
    answer: membershipsAnswer.clone().openapi('MembershipsAnswer'),
    names: ({ user, group }) => [user, group],
    ask: (principal, body, options) => dependencies.memberships(principal, toMemberships(body), options),
    toWire: ({ memberships }: MembershipPage): Omit<z.output<typeof membershipsAnswer>, keyof WirePage> => ({
      memberships: memberships.map(({ verdict, via, until: endTime, ...membership }) => ({
        ...membership,
        counts: verdict,
        via: via ?? null,
        until: endTime ?? null,
      })),
    }),
  }),
  pagedRoute(dependencies, {
    path: '/who-can',
    summary: 'The people who have a relation to an object, and how each gets it',
    body: whoCanBody,
    answer: whoCanAnswer.clone().openapi('WhoCanAnswer'),
    names: ({ object }) => [object],
    ask: (principal, body, options) => dependencies.whoCan(principal, toWhoCan(body), options),
    toWire: ({ entries, limitedBy }: WhoCanPage) => ({
      subjects: entries.map(({ kind, user, via }) => ({ kind, user, via: via ?? null })),
      limited_by: limitedBy ?? null,
    }),
  }),
]

// Their form is checked with the question.
const toViewAs = ({
  user,
  agent,
  delegation,
  collection,
  cursor,
  limit,
}: z.output<typeof viewAsBody>): ViewAsQuestion => ({
  user: user as FgaObject,
  limit,
  ...(agent !== undefined && { agent }),
  ...(delegation !== undefined && { delegation }),
  ...(collection !== undefined && { collection }),
  ...(cursor !== undefined && { cursor }),
})

const toMemberships = ({
  user,
  group,
  cursor,
  limit,
}: z.output<typeof membershipsBody>): MembershipQuestion => ({
  of: user === undefined ? { group: group as FgaObject } : { user: user as FgaObject },
  limit,
  ...(cursor !== undefined && { cursor }),
})

const toWhoCan = ({ object, cursor, ...fields }: z.output<typeof whoCanBody>): WhoCanQuestion => ({
  ...fields,
  object: object as FgaObject,
  ...(cursor !== undefined && { cursor }),
})

/** A question that is answered in pages: its schemas, and how it is asked. */
interface PagedQuestion<Body extends z.ZodType, Page extends AnyPage, Wire extends object> {
  readonly path: string
  readonly summary: string
  readonly body: Body
  /** Of what is answered: the part of this question, and what every page says. */
  readonly answer: z.ZodType<Wire & WirePage>
  /** `type:id` of what is asked about. */
  readonly names: (body: z.output<Body>) => readonly (string | undefined)[]
  readonly ask: (
    principal: Principal,
    body: z.output<Body>,
    options: { readonly signal: AbortSignal },
  ) => Promise<Page>
  readonly toWire: (page: Page) => Wire
}

/** What every page says of itself. */
interface AnyPage {
  readonly cursor?: string | undefined
  readonly complete: boolean
  readonly replica: ReplicaState
  readonly modelId: string
}

interface WirePage {
  cursor: string | null
  complete: boolean
  replica: ReturnType<typeof replicaToWire>
  authorization_model_id: string
  never_here: string[]
  did_you_mean: Record<string, string[]>
  txn: string
}

/** `POST PATH`: for whoever may read, and on record. */
function pagedRoute<Body extends z.ZodType, Page extends AnyPage, Wire extends object>(
  reading: Asking,
  { path, summary, body, answer, names, ask, toWire }: PagedQuestion<Body, Page, Wire>,
): App {
  const route = bearerRoute('post', path, {
    summary,
    middleware: [...reading.asReader],
    request: { body: bodyOf(body) },
    responses: { 200: json('One page', answer), ...problems() },
  })
  return createRouter().openapi(route, async (c) => {
    const principal = c.get('principal')
    await reading.assertReader(principal)
    const { signal } = c.get('deadline')
    // What the schema gave: hono tells no more of one that it does not know.
    const question = c.req.valid('json' as never) as z.output<Body>
    const page = await ask(principal, question, { signal })
    const wire: Wire & WirePage = {
      ...toWire(page),
      cursor: page.cursor ?? null,
      complete: page.complete,
      replica: replicaToWire(page.replica),
      authorization_model_id: page.modelId,
      ...neverHereToWire(await reading.neverHere(names(question).filter((id) => id !== undefined))),
      txn: c.get('txn'),
    }
    return c.json(wire, 200)
  })
}
