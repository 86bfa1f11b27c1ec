import { createRoute, type z } from '@hono/zod-openapi'
import type { NeverHere } from '../../authz/explain/never-here.ts'
import type { ReplicaState } from '../../authz/explain/replica.ts'
import type { Principal } from '../../kernel/principal.ts'
import { type App, createRouter } from '../env.ts'
import { bearer, problems } from '../schemas.ts'
import { neverHereToWire, type Reading, replicaToWire } from './reading.ts'

/** A question that is answered in pages: its schemas, and how it is asked. */
export interface PagedQuestion<Body extends z.ZodType, Page extends AnyPage, Wire extends object> {
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

/** Who may read, and which ids were never here. */
export interface PagedDeps extends Reading {
  readonly neverHere: NeverHere
}

/** Of an answer what its question alone says. */
export type AnswerBody<Answer> = Omit<Answer, keyof WirePage>

/** `POST PATH`: a question of security teams that is answered in pages; for whoever may read, and on record. */
export function pagedRoutes<Body extends z.ZodType, Page extends AnyPage, Wire extends object>(
  reading: PagedDeps,
  { path, summary, body, answer, names, ask, toWire }: PagedQuestion<Body, Page, Wire>,
): App {
  const route = createRoute({
    method: 'post',
    path,
    summary,
    security: bearer,
    middleware: [...reading.asReader] as const,
    request: { body: { required: true, content: { 'application/json': { schema: body } } } },
    responses: {
      200: { description: 'One page', content: { 'application/json': { schema: answer } } },
      ...problems(),
    },
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
