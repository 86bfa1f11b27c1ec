import type { IncomingMessage, ServerResponse } from 'node:http'
import { RESPONSE_ALREADY_SENT } from '@hono/node-server/utils/response'
import { bodyLimit } from 'hono/body-limit'
import type { ConsentPending, Pending } from '../../delegation/issuer/interactions.ts'
import type { AuthorizationServer } from '../../delegation/issuer/server.ts'
import type { Passwords } from '../../delegation/passwords.ts'
import { isKey } from '../../delegation/subject.ts'
import { AppError } from '../../kernel/errors.ts'
import { type App, type AppContext, addressOf, createRouter } from '../env.ts'
import { createLimits } from '../middleware/limits.ts'
import { consentPage } from '../pages/consent.ts'
import { pageHeaders } from '../pages/layout.ts'
import { signInPage } from '../pages/sign-in.ts'

export interface OauthRoutesDeps {
  readonly server: AuthorizationServer
  readonly passwords: Passwords
  readonly publicUrl: string
  readonly now: () => number
  /** Said on the sign-in page of the demo. */
  readonly hint?: string
}

const wrong = 'The account or the password is wrong.'
const formBytesMax = 64 * 1024
// Guesses at one account's password from one address, and ten times that from all: a stranger's guesses alone must
// not keep its owner out. Each costs some 30 ms of a core besides.
const guessesPerMinute = 6

/** The authorization server at `/oauth`, its discovery alias, and the pages where people sign in and consent. */
export function oauthRoutes(deps: OauthRoutesDeps): App {
  const { server, passwords, publicUrl } = deps
  const { interactions } = server
  const guesses = createLimits({ perMinute: guessesPerMinute, now: deps.now })
  const guessesOfAll = createLimits({ perMinute: guessesPerMinute * 10, now: deps.now })
  // One password tried on many accounts, and memory and cores for the hashing of whatever is sent.
  const guessesOfAddress = createLimits({ perMinute: guessesPerMinute * 5, now: deps.now })
  const routes = createRouter()
  const form = bodyLimit({
    maxSize: formBytesMax,
    onError: () => {
      throw new AppError('payload_too_large')
    },
  })

  routes.get('/oauth/interaction/:uid', async (c) => {
    const { pending } = await open(c)
    return pending.prompt === 'login' ? showSignIn(c, pending) : showConsent(c, pending)
  })

  routes.post('/oauth/interaction/:uid/sign-in', form, async (c) => {
    const { pending, node } = await open(c)
    const fields = await ownForm(c, pending.csrf)
    if (pending.prompt !== 'login') return c.redirect(path(pending), 303)
    const user = text(fields['user'])
    const problem = await refusal(c, user, text(fields['password']))
    if (problem !== undefined) return showSignIn(c, pending, { problem, user })
    return c.redirect(await interactions.signedIn(node.incoming, node.outgoing, user), 303)
  })

  routes.post('/oauth/interaction/:uid/consent', form, async (c) => {
    const { pending, node } = await open(c)
    const fields = await ownForm(c, pending.csrf)
    if (pending.prompt !== 'consent') return c.redirect(path(pending), 303)
    try {
      const next = await interactions.consent(node.incoming, node.outgoing, pending, {
        objects: texts(fields['object']),
        subAgents: texts(fields['sub_agent']),
        seconds: Number(text(fields['seconds'])),
      })
      return c.redirect(next, 303)
    } catch (error) {
      if (!(error instanceof AppError) || error.status >= 500) throw error
      return showConsent(c, pending, error.public)
    }
  })

  routes.post('/oauth/interaction/:uid/refuse', form, async (c) => {
    const { pending, node } = await open(c)
    await ownForm(c, pending.csrf)
    return c.redirect(await interactions.refuse(node.incoming, node.outgoing), 303)
  })

  // RFC 8414 puts the well-known part before the issuer's path.
  routes.get('/.well-known/oauth-authorization-server/oauth', (c) =>
    mount(c, '/.well-known/openid-configuration'),
  )
  routes.all('/oauth/*', (c) => {
    const { pathname, search } = new URL(c.req.url)
    return mount(c, `${pathname.slice('/oauth'.length)}${search}`)
  })

  async function mount(c: AppContext, inside: string): Promise<Response> {
    const node = nodeOf(c)
    for (const [name, value] of Object.entries(pageHeaders())) node.outgoing.setHeader(name, value)
    await server.handle(node.incoming, node.outgoing, inside)
    return RESPONSE_ALREADY_SENT
  }

  async function open(c: AppContext): Promise<{ readonly pending: Pending; readonly node: NodeBindings }> {
    const node = nodeOf(c)
    const pending = await interactions.find(node.incoming, node.outgoing, c.req.param('uid') ?? '')
    if (pending === undefined)
      throw new AppError('not_found', { public: 'This request is over. Start again.' })
    return { pending, node }
  }

  /** Why nobody is signed in; undefined where the password fits. */
  async function refusal(c: AppContext, user: string, password: string): Promise<string | undefined> {
    // No account has such a name: nothing of it is kept, and no database is asked with it.
    if (!isKey(user)) return wrong
    try {
      guessesOfAddress.take(addressOf(c))
      guesses.take(`${addressOf(c)} ${user}`)
      guessesOfAll.take(user)
    } catch (error) {
      if (error instanceof AppError && error.code === 'rate_limited')
        return 'Too many tries. Wait a minute, then try again.'
      throw error
    }
    return (await passwords.verify(user, password)) ? undefined : wrong
  }

  async function ownForm(c: AppContext, csrf: string): Promise<Readonly<Record<string, unknown>>> {
    const origin = c.req.header('origin')
    const fields = await c.req.parseBody({ all: true })
    if ((origin !== undefined && origin !== new URL(publicUrl).origin) || fields['csrf'] !== csrf)
      throw new AppError('forbidden', { public: 'This form did not come from our page.' })
    return fields
  }

  const showSignIn = (c: AppContext, pending: Pending, tried: { problem?: string; user?: string } = {}) =>
    show(
      c,
      signInPage({
        action: `${path(pending)}/sign-in`,
        refuse: `${path(pending)}/refuse`,
        csrf: pending.csrf,
        client: pending.client.title,
        ...tried,
        ...(deps.hint !== undefined && { hint: deps.hint }),
      }),
      pending,
    )

  const showConsent = (c: AppContext, pending: ConsentPending, problem?: string) =>
    show(
      c,
      consentPage({
        pending,
        action: `${path(pending)}/consent`,
        refuse: `${path(pending)}/refuse`,
        ...(problem !== undefined && { problem }),
      }),
      pending,
    )

  return routes
}

function show(c: AppContext, text: string, { redirectUri }: Pending): Response | Promise<Response> {
  const targets = redirectUri === undefined ? [] : [new URL(redirectUri).origin]
  for (const [name, value] of Object.entries(pageHeaders(targets))) c.header(name, value)
  return c.html(text)
}

const path = ({ uid }: Pending): string => `/oauth/interaction/${encodeURIComponent(uid)}`
const text = (value: unknown): string => (typeof value === 'string' ? value : '')
const texts = (value: unknown): string[] =>
  [value].flat().filter((one): one is string => typeof one === 'string')

interface NodeBindings {
  readonly incoming: IncomingMessage
  readonly outgoing: ServerResponse
}

/** The library speaks Node's own HTTP: there is none where the app is called in process. */
function nodeOf(c: AppContext): NodeBindings {
  const { incoming, outgoing } = (c.env ?? {}) as Partial<NodeBindings>
  if (incoming === undefined || outgoing === undefined) throw new AppError('not_found')
  return { incoming, outgoing }
}
