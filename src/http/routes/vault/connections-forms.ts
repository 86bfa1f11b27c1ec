import type { ConnectRefusal } from '../../../delegation/vault/connect.ts'
import { AppError } from '../../../kernel/errors.ts'
import { type App, type AppContext, createRouter } from '../../env.ts'
import { isForm } from '../../middleware/form.ts'
import { connectionRequestPage, noRequestPage, notConnectedPage } from '../../pages/connection-request.ts'
import { pageHeaders } from '../../pages/layout.ts'
import { onwardsPage } from '../../pages/onwards.ts'
import { partyOf } from '../../pages/party.ts'
import { awayPage } from '../../pages/upstream.ts'
import type { ConnectionFaces, ConnectionRoutesDeps } from './connections.ts'
import { agreementOf } from './connections-form.ts'

const problems: Readonly<Record<ConnectRefusal, string>> = {
  denied_there: 'You did not go on there.',
  not_verified: 'What came back could not be verified.',
  provider_unavailable: 'The provider does not answer. Try again later.',
  not_begun_here: 'This was not begun in this browser by who is signed in now, or is over. Start again.',
}

/** The pages of one request, the way to the provider and back, and the forms, which can send neither JSON nor DELETE. */
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
  const read = requireSession({ write: false })
  const write = requireSession({ write: true })
  const takes = requireSession({ write: true, recent: false })

  routes.get('/connections/requests/:id', read, async (c: AppContext) => {
    const { person, subject } = owner(c)
    const { csrf, waiting } = c.get('session')
    // Looked for among this person's: somebody else's is as one that was never made.
    const request = (await parties.requests(subject)).find((candidate) => candidate.id === c.req.param('id'))
    const provider = providers.find((candidate) => candidate.name === request?.provider)
    if (request === undefined || provider === undefined)
      return html(c, noRequestPage({ person, csrf, waiting }), 404)
    const connected = (await ownConnections.list(subject)).filter(
      (connection) => connection.provider === provider.name,
    )
    return html(c, connectionRequestPage({ person, csrf, waiting, request, provider, connected }), 200)
  })

  routes.post('/connections/requests/:id/refuse', takes, async (c: AppContext) => {
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
        return html(c, awayPage(started.value.url, new URL(started.value.url).host), 200)
      })
    },
  )

  /**
   * Where providers send the browser back to. It comes from another site, without the strict cookie: nothing is known of
   * who that is, so nothing is redeemed here.
   */
  routes.get('/connections/:name/callback', async (c: AppContext) => {
    const { search } = new URL(c.req.url)
    const isOurs = await connecting.returned(c.req.param('name') ?? '', search, cookie.read(c))
    return isOurs
      ? html(c, onwardsPage('/connections/finish'), 200)
      : html(c, notConnectedPage(problems.not_begun_here), 400)
  })

  routes.get('/connections/finish', read, async (c: AppContext) => {
    const finished = await connecting.finish(owner(c), cookie.read(c))
    cookie.remove(c)
    return finished.ok
      ? c.redirect('/connections?done=connected', 303)
      : html(c, notConnectedPage(problems[finished.reason]), 400)
  })

  routes.post('/connections/:id/agents', write, async (c: AppContext) =>
    withNotice(c, async () => {
      const agreement = agreementOf(await c.req.parseBody({ all: true }))
      await ownConnections.agree(owner(c), c.req.param('id') ?? '', agreement)
      return c.redirect('/connections?done=agreed', 303)
    }),
  )

  routes.post('/connections/:id/agents/remove', takes, async (c: AppContext) => {
    const { party } = await c.req.parseBody()
    await unlessOver(
      ownConnections.removeAgent(
        owner(c),
        c.req.param('id') ?? '',
        partyOf(typeof party === 'string' ? party : ''),
      ),
    )
    return c.redirect('/connections?done=agent_removed', 303)
  })

  routes.post('/connections/:id/disconnect', takes, async (c: AppContext) => {
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

/** Over already, perhaps by a second press: the page shows how it stands. */
async function unlessOver<T>(ended: Promise<T>): Promise<T | undefined> {
  try {
    return await ended
  } catch (error) {
    if (error instanceof AppError && error.code === 'not_found') return undefined
    throw error
  }
}

function html(c: AppContext, body: string, status: 200 | 400 | 404): Response | Promise<Response> {
  for (const [name, value] of Object.entries(pageHeaders())) c.header(name, value)
  return c.html(body, status)
}
