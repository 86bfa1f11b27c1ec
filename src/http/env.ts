import { OpenAPIHono } from '@hono/zod-openapi'
import type { Context } from 'hono'
import type { BrowserSession } from '../delegation/people/sessions.ts'
import { AppError } from '../kernel/errors.ts'
import type { Principal } from '../kernel/principal.ts'
import { firstIssue } from '../kernel/validation-message.ts'
import type { Deadline } from '../retrieval/deadline.ts'
import type { Waiting } from './pages/own-nav.ts'

/** What the middleware hands to the routes. */
export interface AppEnv {
  Variables: {
    /** Thread of this request through errors and records; the token's own `txn` once it is verified. */
    txn: string
    /** Whom limits count: see client-address.ts. */
    address: string | undefined
    principal: Principal
    deadline: Deadline
    /**
     * Fires when nobody waits for this request any more: it was answered with its deadline's 503, or its
     * client left.
     */
    over: AbortSignal
    /** The person's own browser, where a route asks for it. */
    session: PageSession
  }
}

export interface PageSession extends BrowserSession {
  /** What every page says waits for this person; nothing for a program, which asks. */
  readonly waiting: Waiting
}

export type App = OpenAPIHono<AppEnv>
export type AppContext = Context<AppEnv>

/** The network address that a request counts for: behind a proxy that we trust, its client's. */
export const addressOf = (c: AppContext): string => c.get('address') ?? peerOf(c)

/** The network address at the other end of the socket; behind a proxy that is the proxy's. */
export function peerOf(c: AppContext): string {
  const { incoming } = (c.env ?? {}) as { incoming?: { socket?: { remoteAddress?: string } } }
  return incoming?.socket?.remoteAddress ?? 'in-process'
}

/** Answers 200 with these members and the thread of the request. */
export const reply = <Members extends object>(c: AppContext, members: Members) =>
  c.json({ ...members, txn: c.get('txn') }, 200)

/** A router whose validation errors are 422s that name the first wrong field. */
export function createRouter(): App {
  return new OpenAPIHono<AppEnv>({
    defaultHook: (result) => {
      if (result.success) return
      const { path, says } = firstIssue(result.error)
      throw new AppError('invalid_request', {
        // An empty name is shown as what it is: `filter.` would be the filter, and nothing the body.
        field: path.map((name) => (name === '' ? '""' : name)).join('.') || 'body',
        public: says,
      })
    },
  })
}
