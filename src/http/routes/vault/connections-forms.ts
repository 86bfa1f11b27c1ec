import type { PartyLabels } from '../../../delegation/vault/agreements.ts'
import type {
  Agreement,
  Connecting,
  ConnectionOwner,
  ConnectRefusal,
} from '../../../delegation/vault/connect.ts'
import type { OwnConnections } from '../../../delegation/vault/own-connections.ts'
import type { Provider } from '../../../delegation/vault/provider.ts'
import { AppError, invalid } from '../../../kernel/errors.ts'
import { type App, type AppContext, createRouter } from '../../env.ts'
import { type Fields, isForm, textOf, textsOf, unlessOver } from '../../middleware/form.ts'
import type { RequireSession } from '../../middleware/session.ts'
import type { ConnectionsDone } from '../../pages/connections.ts'
import { connectionRequestPage, noRequestPage, notConnectedPage } from '../../pages/connections.ts'
import { onwardsPage } from '../../pages/onwards.ts'
import { partyOf } from '../../pages/party.ts'
import { showPage } from '../../pages/show.ts'
import { awayPage } from '../../pages/upstream.ts'
import type { OwnCookie } from '../../sign-in/cookies.ts'

export interface ConnectionRoutesDeps {
  readonly own: OwnConnections
  readonly connecting: Connecting
  readonly parties: PartyLabels
  readonly providers: readonly Provider[]
  /** Lax: the browser brings it back from the provider. Everything else of ours is strict. */
  readonly cookie: OwnCookie
  readonly requireSession: RequireSession
  /** Requests of one person. */
  readonly perMinute: number
  readonly now: () => number
}

/** What the pages' own forms share with the routes for programs. */
export interface ConnectionFaces {
  owner(c: AppContext): ConnectionOwner
  show(c: AppContext, status: 200 | 404 | 409 | 422 | 503, notice?: PageNotice): Promise<Response>
}

/** What the page says above its list: what was done, or what went wrong. */
export interface PageNotice {
  readonly notice?: ConnectionsDone
  readonly problem?: string
}

const problems: Readonly<Record<ConnectRefusal, string>> = {
  denied_there: 'You did not go on there.',
  not_verified: 'What came back could not be verified.',
  provider_unavailable: 'The provider does not answer. Try again later.',
  not_begun_here: 'This was not begun in this browser by who is signed in now, or is over. Start again.',
}

/**
 * The pages of one request, the way to the provider and back, and the forms, which can send neither JSON nor
 * DELETE.
 */
export function connectionFormRoutes(dependencies: ConnectionRoutesDeps & ConnectionFaces): App {
  const {
    own: ownConnections,
    connecting,
    parties,
    providers,
    cookie,
    requireSession,
    owner,
    show,
  } = dependencies
  const routes = createRouter()
  const { read, takeAway, write } = requireSession

  routes.get('/connections/requests/:id', read, async (c: AppContext) => {
    const { subject } = owner(c)
    const session = c.get('session')
    // Looked for among this person's: somebody else's is as one that was never made.
    const request = (await parties.requests(subject)).find((candidate) => candidate.id === c.req.param('id'))
    const provider = providers.find((candidate) => candidate.name === request?.provider)
    if (request === undefined || provider === undefined)
      return showPage(c, noRequestPage(session), { status: 404 })
    const connected = (await ownConnections.list(subject)).filter(
      (connection) => connection.provider === provider.name,
    )
    return showPage(c, connectionRequestPage({ ...session, request, provider, connected }))
  })

  routes.post('/connections/requests/:id/refuse', takeAway, async (c: AppContext) => {
    await parties.refuse(owner(c).subject, c.req.param('id') ?? '')
    return c.redirect('/connections?done=refused', 303)
  })

  routes.post(
    '/connections/:name/connect',
    // A program's JSON is the other route's.
    async (c, next) => (isForm(c) ? write(c, next) : next()),
    async (c: AppContext, next) => {
      if (!isForm(c)) return next()
      return withNotice(c, async () => {
        const fields = await c.req.parseBody({ all: true })
        const agreement = fields['again'] === 'yes' ? undefined : agreementOf(fields)
        const started = await connecting.begin(owner(c), c.req.param('name') ?? '', agreement)
        if (!started.ok) return show(c, 503, { problem: problems.provider_unavailable })
        cookie.write(c, started.value.browser)
        return showPage(c, awayPage(started.value.url))
      })
    },
  )

  /**
   * Where providers send the browser back to. It comes from another site, without the strict cookie: nothing
   * is known of who that is, so nothing is redeemed here.
   */
  routes.get('/connections/:name/callback', async (c: AppContext) => {
    const { search } = new URL(c.req.url)
    const isOurs = await connecting.returned(c.req.param('name') ?? '', search, cookie.read(c))
    return isOurs
      ? showPage(c, onwardsPage('/connections/finish'))
      : showPage(c, notConnectedPage(problems.not_begun_here), { status: 400 })
  })

  routes.get('/connections/finish', read, async (c: AppContext) => {
    const browser = cookie.read(c)
    cookie.remove(c)
    return withNotice(c, async () => {
      const finished = await connecting.finish(owner(c), browser)
      return finished.ok
        ? c.redirect('/connections?done=connected', 303)
        : showPage(c, notConnectedPage(problems[finished.reason]), { status: 400 })
    })
  })

  routes.post('/connections/:id/agents', write, async (c: AppContext) =>
    withNotice(c, async () => {
      const agreement = agreementOf(await c.req.parseBody({ all: true }))
      await ownConnections.agree(owner(c), c.req.param('id') ?? '', agreement)
      return c.redirect('/connections?done=agreed', 303)
    }),
  )

  routes.post('/connections/:id/agents/remove', takeAway, async (c: AppContext) => {
    const { party } = await c.req.parseBody()
    const remover = owner(c)
    await unlessOver(ownConnections.removeAgent(remover, c.req.param('id') ?? '', partyOf(textOf(party))))
    return c.redirect('/connections?done=agent_removed', 303)
  })

  routes.post('/connections/:id/disconnect', takeAway, async (c: AppContext) => {
    const ended = await unlessOver(ownConnections.disconnect(owner(c), c.req.param('id') ?? ''))
    const notice = ended?.toldProvider === false ? 'disconnected_here' : 'disconnected'
    return c.redirect(`/connections?done=${notice}`, 303)
  })

  /** What is wrong with a form is said on the page. */
  async function withNotice(c: AppContext, run: () => Promise<Response>): Promise<Response> {
    try {
      return await run()
    } catch (error) {
      if (!(error instanceof AppError) || ![404, 409, 422].includes(error.status)) throw error
      return show(c, error.status as 404 | 409 | 422, {
        problem: error.public ?? 'There is nothing to connect.',
      })
    }
  }

  return routes
}

/** What the form says that its person agrees to; the feature judges it. 422 where nobody is chosen. */
function agreementOf(fields: Fields): Agreement {
  const parties = textsOf(fields['party']).map(partyOf)
  if (parties.length === 0) throw invalid('agents', 'Choose who may use it.')
  return { parties, rules: textsOf(fields['rule']), shown: textsOf(fields['shown']) }
}
