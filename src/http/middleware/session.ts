import type { MiddlewareHandler } from 'hono'
import type { AccountNews } from '../../delegation/people/account-news.ts'
import type { BrowserSession, Sessions } from '../../delegation/people/sessions.ts'
import { assertNotAborted } from '../../kernel/assert-not-aborted.ts'
import { isNoOlderThan } from '../../kernel/clock.ts'
import { AppError } from '../../kernel/errors.ts'
import type { FgaObject } from '../../kernel/ids.ts'
import type { AppContext, AppEnv } from '../env.ts'
import { onwardsPage } from '../pages/onwards.ts'
import { showPage } from '../pages/show.ts'
import { createSessionCookie } from '../sign-in/cookies.ts'
import { ownPage } from '../sign-in/next.ts'
import { isForm, wholeForm } from './form.ts'

/** What {@link createRequireSession} works with. */
export interface SessionDeps {
  readonly sessions: Pick<Sessions, 'find'>
  readonly publicUrl: string
  /** Questions of agents that wait for somebody. */
  readonly countWaiting: (subject: FgaObject) => Promise<number>
  /** What was added to somebody's account lately. */
  readonly newsOf: (person: string) => Promise<readonly AccountNews[]>
  readonly now: () => number
}

/** What stands before the routes of the person's own browser, by what they do. */
export interface RequireSession {
  readonly read: MiddlewareHandler<AppEnv>
  /**
   * Changes something: our own Origin, the session's token and a sign-in of at most 15 minutes are needed as
   * well.
   */
  readonly write: MiddlewareHandler<AppEnv>
  /**
   * A write without the recent sign-in, for what only takes away (a no, taking back, disconnecting, signing
   * out): it must be as near as can be, and whoever stole a session gains nothing by it.
   */
  readonly takeAway: MiddlewareHandler<AppEnv>
}

const recentMs = 15 * 60_000

/** Whether whoever signed in then may change something now. */
export const isRecent = (signedInAt: Date, now: number): boolean =>
  isNoOlderThan(recentMs, signedInAt.getTime(), now)

/**
 * Demands the person's own browser session. A request with an Authorization header is refused whatever it
 * brings: no token, the person's own included, may do what only the person in front of their browser may. A
 * page (a browser that asks for HTML) without a session, or with one that is too old for what it does, is led
 * to the sign-in.
 */
export function createRequireSession(dependencies: SessionDeps): RequireSession {
  const { sessions, publicUrl, countWaiting, newsOf, now } = dependencies
  const sessionCookie = createSessionCookie(publicUrl)
  const origin = new URL(publicUrl).origin

  const demand = (write: boolean, recent: boolean): MiddlewareHandler<AppEnv> =>
    async function session(c, next) {
      if (c.req.header('authorization') !== undefined)
        throw new AppError('forbidden', { public: 'Only the person themself may do this, in their browser.' })
      return write ? wholeForm(c, admit) : admit()

      async function admit(): Promise<void> {
        const id = sessionCookie.read(c)
        const found = id === undefined ? undefined : await sessions.find(id)
        const refusal = await judge(found)
        if (refusal !== undefined) c.res = refusal
        else if (found !== undefined) await pass(found)
      }

      async function judge(found: BrowserSession | undefined): Promise<Response | undefined> {
        // Comes here once more, from a page of ours.
        if (found === undefined)
          return isLedHere(c) ? showPage(c, onwardsPage(ownPage(c.req.path))) : toSignIn(c)
        if (!write) return undefined
        const { csrf, signedInAt } = found
        if (c.req.header('origin') !== origin || (await tokenOf(c)) !== csrf)
          throw new AppError('forbidden', { public: 'This request did not come from our page.' })
        return recent && !isRecent(signedInAt, now()) ? toSignIn(c) : undefined
      }

      async function pass(value: BrowserSession): Promise<void> {
        const waiting = wantsPage(c)
          ? { questions: await countWaiting(value.subject), news: await newsOf(value.person) }
          : { questions: 0, news: [] }
        c.set('session', { ...value, waiting })
        assertNotAborted(c.get('over'))
        await next()
      }
    }
  return { read: demand(false, false), write: demand(true, true), takeAway: demand(true, false) }
}

/** A link on another site led to a page of ours: the browser has left the strict cookie out. */
const isLedHere = (c: AppContext): boolean =>
  c.req.method === 'GET' && wantsPage(c) && c.req.header('sec-fetch-site') === 'cross-site'

/**
 * 401, or for a page the way to the sign-in, which leads back to the page and finishes nothing of what was
 * pressed.
 */
export function toSignIn(c: AppContext): Response {
  if (!wantsPage(c)) throw new AppError('insufficient_user_authentication')
  return c.redirect(`/sign-in?next=${encodeURIComponent(ownPage(c.req.path))}`, 303)
}

/** A browser that shows a page, not a program that reads JSON. */
export const wantsPage = (c: AppContext): boolean =>
  /(^|[\s,])text\/html\s*(;|,|$)/.test(c.req.header('accept') ?? '')

async function tokenOf(c: AppContext): Promise<unknown> {
  const sent = c.req.header('x-csrf-token')
  if (sent !== undefined) return sent
  return isForm(c) ? (await c.req.parseBody({ all: true }))['csrf'] : undefined
}
