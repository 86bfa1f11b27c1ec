import type { Sessions } from '../../../delegation/people/sessions.ts'
import { type App, type AppContext, createRouter } from '../../env.ts'
import type { RequireSession } from '../../middleware/session.ts'
import { pageHeaders } from '../../pages/layout.ts'
import { onwardsPage } from '../../pages/onwards.ts'
import type { OwnCookie } from '../../sign-in/cookies.ts'
import { ownPage } from '../../sign-in/next.ts'
import type { SignIn, SignInPlace } from '../../sign-in/sign-in.ts'

export interface SignInRoutesDeps {
  readonly signIn: SignIn
  readonly sessions: Sessions
  readonly sessionCookie: OwnCookie
  /** Binds the form to this browser while nobody is signed in: else a stranger could sign it in as themself. */
  readonly formCookie: OwnCookie
  readonly requireSession: RequireSession
  readonly randomBytes: (size: number) => Buffer
}

const formCookieForm = /^[A-Za-z0-9_-]{43}$/

/** `/sign-in?next=` and `/sign-out` of our own pages. */
export function signInRoutes(deps: SignInRoutesDeps): App {
  const { signIn, sessions, sessionCookie, formCookie, requireSession, randomBytes } = deps
  const routes = createRouter()

  routes.get('/sign-in', async (c) => signIn.show(c, await place(c)))
  signIn.mount(routes, '', place)

  routes.post('/sign-out', requireSession({ write: true, recent: false }), async (c) => {
    await sessions.end(sessionCookie.read(c) ?? '', c.get('txn'))
    sessionCookie.remove(c)
    return c.redirect('/sign-in', 303)
  })

  async function place(c: AppContext): Promise<SignInPlace> {
    const next = ownPage(c.req.query('next'))
    const before = sessionCookie.read(c)
    const session = before === undefined ? undefined : await sessions.find(before)
    return {
      at: (step) => `${step}?next=${encodeURIComponent(next)}`,
      csrf: sessions.formToken(browserOf(c)),
      start: `/sign-in?next=${encodeURIComponent(next)}`,
      formTargets: [],
      ...(session !== undefined && { user: session.person }),
      async finish(signedIn) {
        const id = await sessions.begin(signedIn, {
          txn: c.get('txn'),
          ...(before !== undefined && { before }),
        })
        sessionCookie.write(c, id)
        formCookie.remove(c)
        if (c.req.method === 'POST') return c.redirect(next, 303)
        // Back from another site: a browser sends a strict cookie along only where a page of ours leads on.
        for (const [name, value] of Object.entries(pageHeaders())) c.header(name, value)
        return c.html(onwardsPage(next))
      },
    }
  }

  /** The value by which this browser is known while it signs in; made where it brings none. */
  function browserOf(c: AppContext): string {
    const brought = formCookie.read(c)
    if (brought !== undefined && formCookieForm.test(brought)) return brought
    const made = randomBytes(32).toString('base64url')
    formCookie.write(c, made)
    return made
  }

  return routes
}
