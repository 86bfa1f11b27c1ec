import type { Approvals } from '../../../delegation/approvals/approvals.ts'
import type { Along } from '../../../delegation/people/links.ts'
import type { Passkeys } from '../../../delegation/people/passkeys.ts'
import { isLocal, type People } from '../../../delegation/people/people.ts'
import type { Sessions } from '../../../delegation/people/sessions.ts'
import { isVerifiedNow } from '../../../delegation/people/user-verification.ts'
import type { UpstreamSignIns } from '../../../delegation/upstream/sign-ins.ts'
import { AppError } from '../../../kernel/errors.ts'
import type { Log } from '../../../kernel/log.ts'
import { type App, type AppContext, createRouter } from '../../env.ts'
import { textOf } from '../../middleware/form.ts'
import { isRecent, type RequireSession } from '../../middleware/session.ts'
import { passkeysPage } from '../../pages/accounts.ts'
import { onwardsPage } from '../../pages/onwards.ts'
import { passkeyScript } from '../../pages/passkey-script.ts'
import { showPage } from '../../pages/show.ts'
import { upstreamFailedPage } from '../../pages/upstream.ts'
import type { OwnCookie } from '../../sign-in/cookies.ts'
import { ownPage } from '../../sign-in/next.ts'
import { answerIn } from '../../sign-in/passkey.ts'
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

const ofItsOwn =
  'Your own pages have a sign-in of their own: one for a program, even a minute ago, does not count here.'
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
      ...(session !== undefined ? { user: session.person } : { why: ofItsOwn }),
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

export interface PasskeyRoutesDeps {
  /** Undefined where there are none: PUBLIC_URL is an IP address. */
  readonly passkeys: Passkeys | undefined
  readonly people: People
  readonly approvals: Pick<Approvals, 'mine'>
  readonly sessions: Sessions
  readonly requireSession: RequireSession
  readonly log: Log
  readonly now: () => number
}

/** `/passkeys`: a person adds, names and removes their own, each with a sign-in of at most 15 minutes. */
export function passkeyRoutes(dependencies: PasskeyRoutesDeps): App {
  const { passkeys, people, approvals, sessions, requireSession, log, now } = dependencies
  const routes = createRouter()

  routes.get(passkeyScript.path, (c) =>
    c.body(passkeyScript.text, 200, { 'content-type': 'text/javascript; charset=utf-8' }),
  )
  routes.get('/passkeys', requireSession.read, (c) => show(c))

  routes.post('/passkeys', requireSession.write, async (c) => {
    const { person, csrf, verifiedAt } = c.get('session')
    const fields = await c.req.parseBody()
    const owner = await people.get(person)
    if (passkeys === undefined || owner === undefined) throw new AppError('not_found')
    const added = await passkeys.add(owner, csrf, {
      answer: answerIn(fields['answer']),
      title: textOf(fields['title']),
      verified: isVerifiedNow({ verifiedAt }, now()),
      txn: c.get('txn'),
    })
    if (added.ok) return c.redirect('/passkeys', 303)
    log('passkey_refused', { reason: added.reason, detail: added.detail })
    const status = added.reason === 'needs_verification' ? 401 : 422
    return show(c, refusals[added.reason] ?? 'This passkey was not accepted.', status)
  })

  routes.post('/passkeys/rename', requireSession.write, async (c) => {
    const fields = await c.req.parseBody()
    const renamed = await passkeys?.rename(
      c.get('session').person,
      textOf(fields['id']),
      textOf(fields['title']),
    )
    if (renamed !== true) throw new AppError('not_found')
    return c.redirect('/passkeys', 303)
  })

  routes.post('/passkeys/remove', requireSession.write, async (c) => {
    const { id } = await c.req.parseBody()
    const session = c.get('session')
    // Whoever has the device may be signed in with it.
    const signOut: Along = (sql) => sessions.endOthers(sql, session, c.get('txn'))
    const removed = await passkeys?.remove(session.person, textOf(id), c.get('txn'), signOut)
    if (removed !== true) throw new AppError('not_found')
    return c.redirect('/passkeys', 303)
  })

  async function show(c: AppContext, problem?: string, status: 200 | 401 | 422 = 200): Promise<Response> {
    const session = c.get('session')
    const { person, subject, waiting } = session
    const owner = await people.get(person)
    const options =
      owner === undefined || !isLocal(person) ? undefined : await passkeys?.offer(owner, session.csrf)
    const { open } = waiting.questions > 0 ? await approvals.mine(subject) : { open: [] }
    const page = passkeysPage({
      ...session,
      passkeys: (await passkeys?.list(person)) ?? [],
      stale: !isRecent(session.signedInAt, now()),
      verified: isVerifiedNow(session, now()),
      countsAtOnce: (await passkeys?.countsAtOnce(person)) ?? false,
      now: now(),
      options,
      questions: open.filter(({ state }) => state === 'pending').map(({ id }) => id),
      problem: problem ?? unavailable(passkeys, person),
    })
    return showPage(c, page, { status, script: true })
  }

  return routes
}

const refusals: Readonly<Record<string, string>> = {
  needs_verification: 'Sign in with a passkey of yours first.',
  unknown_challenge: 'That took too long, or was sent twice. Try again.',
  taken: 'This passkey is registered already.',
  too_many: 'You have as many passkeys as there can be. Remove one first.',
}

function unavailable(passkeys: Passkeys | undefined, person: string): string | undefined {
  if (passkeys === undefined)
    return 'There are no passkeys here: the address of this service is a number, not a name.'
  return isLocal(person) ? undefined : 'You sign in through another provider: passkeys are kept there.'
}
