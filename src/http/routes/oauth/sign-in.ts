import type { Sessions } from '../../../delegation/people/sessions.ts'
import type { UpstreamSignIns } from '../../../delegation/upstream/sign-ins.ts'
import { type App, type AppContext, createRouter } from '../../env.ts'
import type { RequireSession } from '../../middleware/session.ts'
import { onwardsPage } from '../../pages/onwards.ts'
import { showPage } from '../../pages/show.ts'
import { upstreamFailedPage } from '../../pages/upstream.ts'
import type { OwnCookie } from '../../sign-in/cookies.ts'
import { ownPage } from '../../sign-in/next.ts'
import type { SignIn, SignInPlace } from '../../sign-in/sign-in.ts'

export interface SignInRoutesDeps {
  readonly signIn: SignIn
  readonly sessions: Sessions
  readonly sessionCookie: OwnCookie
  /**
   * Binds the form to this browser while nobody is signed in: else a stranger could sign it in as themself.
   */
  readonly formCookie: OwnCookie
  readonly requireSession: RequireSession
  readonly randomBytes: (size: number) => Buffer
}

const formCookieForm = /^[A-Za-z0-9_-]{43}$/

/** `/sign-in?next=` and `/sign-out` of our own pages. */
export function signInRoutes(dependencies: SignInRoutesDeps): App {
  const { signIn, sessions, sessionCookie, formCookie, requireSession, randomBytes } = dependencies
  const routes = createRouter()

  routes.get('/sign-in', async (c) => signIn.show(c, await signInHere(c)))
  signIn.mount(routes, '', signInHere)

  routes.post('/sign-out', requireSession.takeAway, async (c) => {
    await sessions.end(sessionCookie.read(c) ?? '', c.get('txn'))
    sessionCookie.remove(c)
    return c.redirect('/sign-in', 303)
  })

  async function signInHere(c: AppContext): Promise<SignInPlace> {
    const next = ownPage(c.req.query('next'))
    const previousId = sessionCookie.read(c)
    const session = previousId === undefined ? undefined : await sessions.find(previousId)
    return {
      at: (step) => `${step}?next=${encodeURIComponent(next)}`,
      csrf: sessions.formToken(browserOf(c)),
      start: `/sign-in?next=${encodeURIComponent(next)}`,
      formTargets: [],
      ...(session !== undefined && { user: session.person }),
      async finish(signedIn) {
        const id = await sessions.begin(signedIn, {
          txn: c.get('txn'),
          ...(previousId !== undefined && { before: previousId }),
        })
        sessionCookie.write(c, id)
        formCookie.remove(c)
        if (c.req.method === 'POST') return c.redirect(next, 303)
        // Back from another site: a browser sends a strict cookie along only where a page of ours leads on.
        return showPage(c, onwardsPage(next))
      },
    }
  }

  /** The value by which this browser is known while it signs in; made where it brings none. */
  function browserOf(c: AppContext): string {
    const brought = formCookie.read(c)
    if (brought !== undefined && formCookieForm.test(brought)) return brought
    const browserId = randomBytes(32).toString('base64url')
    formCookie.write(c, browserId)
    return browserId
  }

  return routes
}

interface UpstreamRoutesDeps {
  readonly upstream: UpstreamSignIns
  readonly cookie: OwnCookie
}

const problems = {
  denied_there: 'You did not go on there.',
  not_verified: 'What came back could not be verified.',
  provider_unavailable: 'The other provider does not answer. Try again later, or use another way.',
  not_begun_here: 'This sign-in was not begun in this browser, or is over.',
} as const

/**
 * Where other providers send the browser back to. Says only who came back; what began it goes on from a page
 * of ours, since a browser that comes from another site leaves strict cookies out.
 */
export function upstreamRoutes({ upstream, cookie }: UpstreamRoutesDeps): App {
  const routes = createRouter()
  routes.get('/sign-in/upstream/:namespace/callback', async (c) => {
    const { search } = new URL(c.req.url)
    const returned = await upstream.returned(c.req.param('namespace'), search, cookie.read(c))
    if (returned.ok) return showPage(c, onwardsPage(returned.next))
    const page = upstreamFailedPage(problems[returned.reason], returned.back ?? '/sign-in')
    return showPage(c, page, { status: 400 })
  })
  return routes
}
