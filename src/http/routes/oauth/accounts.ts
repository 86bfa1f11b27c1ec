import type { AccountLinks, Along } from '../../../delegation/people/links.ts'
import type { Passkeys } from '../../../delegation/people/passkeys.ts'
import { isLocal } from '../../../delegation/people/people.ts'
import type { Sessions } from '../../../delegation/people/sessions.ts'
import { atPages } from '../../../delegation/people/sign-ins.ts'
import { isVerifiedNow } from '../../../delegation/people/user-verification.ts'
import type { UpstreamSignIns } from '../../../delegation/upstream/sign-ins.ts'
import { AppError } from '../../../kernel/errors.ts'
import { type App, type AppContext, createRouter } from '../../env.ts'
import { textOf } from '../../middleware/form.ts'
import { isRecent, type RequireSession } from '../../middleware/session.ts'
import { accountsPage, confirmLinkPage } from '../../pages/accounts.ts'
import { showPage } from '../../pages/show.ts'
import type { OwnCookie } from '../../sign-in/cookies.ts'
import { goAway } from '../../sign-in/upstream.ts'

export interface AccountRoutesDeps {
  readonly links: AccountLinks
  readonly upstream: UpstreamSignIns
  readonly sessions: Sessions
  readonly upstreamCookie: OwnCookie
  readonly requireSession: RequireSession
  /** Undefined where there are none. */
  readonly passkeys: Pick<Passkeys, 'list'> | undefined
  readonly now: () => number
}

/**
 * `/accounts`: a person who has just signed in here signs in at another provider as well, in the same
 * session, looks at both sides and makes them one; or ends that. Nobody else can link anything to them.
 */
export function accountRoutes(dependencies: AccountRoutesDeps): App {
  const { links, upstream, sessions, upstreamCookie, requireSession, passkeys, now } = dependencies
  const routes = createRouter()
  const { read, takeAway, write } = requireSession
  // Whoever began it must be who ends it: the token is this session's and nobody else's.
  const bindingOf = (c: AppContext) => `link ${c.get('session').csrf}`

  routes.get('/accounts', read, (c) => show(c))

  routes.post('/accounts/link', write, async (c) => {
    requireLocal(c)
    const { provider } = await c.req.parseBody()
    const origin = { binding: bindingOf(c), next: '/accounts/confirm', back: '/accounts' }
    const went = await goAway(c, { upstream, cookie: upstreamCookie }, textOf(provider), origin)
    return went ?? show(c, 'The other provider does not answer. Try again later.', 503)
  })

  routes.get('/accounts/confirm', read, async (c) => {
    const { person, csrf } = c.get('session')
    const identity = await upstream.look(upstreamCookie.read(c), bindingOf(c))
    if (identity === undefined) return show(c, message, 404)
    return showPage(c, confirmLinkPage({ person, csrf, identity }))
  })

  routes.post('/accounts/confirm', write, async (c) => {
    requireLocal(c)
    const identity = await upstream.take(upstreamCookie.read(c), bindingOf(c))
    upstreamCookie.remove(c)
    if (identity === undefined) return show(c, message, 404)
    const { issuer, sub } = identity
    const { person } = c.get('session')
    try {
      const verified = isVerifiedNow(c.get('session'), now())
      await links.link({ issuer, sub, person, verified }, atPages(person, c.get('txn'), c.get('over')))
    } catch (error) {
      if (!(error instanceof AppError) || (error.status !== 409 && error.status !== 401)) throw error
      return show(c, error.public, error.status)
    }
    return c.redirect('/accounts', 303)
  })

  // Only gives up what was begun.
  routes.post('/accounts/cancel', takeAway, async (c) => {
    await upstream.take(upstreamCookie.read(c), bindingOf(c))
    upstreamCookie.remove(c)
    return c.redirect('/accounts', 303)
  })

  routes.post('/accounts/end', write, async (c) => {
    const fields = await c.req.parseBody()
    const session = c.get('session')
    const { person } = session
    const account = { issuer: textOf(fields['issuer']), sub: textOf(fields['sub']), person }
    // Whoever has that account may be signed in with it.
    const signOut: Along = (sql) => sessions.endOthers(sql, session, c.get('txn'))
    if (!(await links.unlink(account, atPages(person, c.get('txn')), signOut)))
      throw new AppError('not_found')
    return c.redirect('/accounts', 303)
  })

  const hasPasskey = async (person: string): Promise<boolean> =>
    ((await passkeys?.list(person)) ?? []).some(({ verifiesFrom }) => verifiesFrom.getTime() <= now())

  async function show(c: AppContext, problem?: string, status: Status = 200): Promise<Response> {
    const session = c.get('session')
    const { person } = session
    const page = accountsPage({
      ...session,
      links: await links.list(person),
      providers: isLocal(person) ? upstream.providers : [],
      stale: !isRecent(session.signedInAt, now()),
      needsPasskey: !isVerifiedNow(session, now()) && (await hasPasskey(person)),
      problem: problem ?? (isLocal(person) ? undefined : localOnly),
    })
    return showPage(c, page, { status })
  }

  return routes
}

type Status = 200 | 401 | 404 | 409 | 503

const message = 'That sign-in is over, or was begun elsewhere. Start again.'
const localOnly = 'Only accounts of this service can have links.'

function requireLocal(c: AppContext): void {
  if (!isLocal(c.get('session').person)) throw new AppError('forbidden', { public: localOnly })
}
