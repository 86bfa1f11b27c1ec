import type { IncomingMessage, ServerResponse } from 'node:http'
import { RESPONSE_ALREADY_SENT } from '@hono/node-server/utils/response'
import { createRoute, z } from '@hono/zod-openapi'
import type { ConsentPending, PendingInteraction } from '../../../delegation/oauth/interactions.ts'
import type { AuthorizationServer } from '../../../delegation/oauth/server.ts'
import type { Sessions } from '../../../delegation/people/sessions.ts'
import { isVerifiedNow } from '../../../delegation/people/user-verification.ts'
import { proofAlgorithms } from '../../../delegation/tokens/dpop.ts'
import { AppError } from '../../../kernel/errors.ts'
import { type App, type AppContext, createRouter } from '../../env.ts'
import { type BegunLimit, begunAt } from '../../middleware/begun.ts'
import { textOf, textsOf, wholeForm } from '../../middleware/form.ts'
import { consentPage } from '../../pages/consent.ts'
import { pageHeaders } from '../../pages/layout.ts'
import { showPage } from '../../pages/show.ts'
import { metadataUrl } from '../../problem.ts'
import { json, objectOf } from '../../schemas.ts'
import type { OwnCookie } from '../../sign-in/cookies.ts'
import { ownForm, type SignIn, type SignInPlace } from '../../sign-in/sign-in.ts'

export interface OauthRoutesDeps {
  readonly server: AuthorizationServer
  readonly signIn: SignIn
  readonly begunLimit: BegunLimit
  readonly sessions: Pick<Sessions, 'find'>
  readonly sessionCookie: OwnCookie
  readonly publicUrl: string
  readonly now: () => number
}

/**
 * The authorization server at `/oauth`, its discovery alias, and the pages where people sign in and consent.
 */
export function oauthRoutes(dependencies: OauthRoutesDeps): App {
  const { server, signIn, begunLimit, sessions, sessionCookie, publicUrl, now } = dependencies
  const { interactions } = server
  const routes = createRouter()

  routes.get('/oauth/interaction/:uid', async (c) => {
    const { pending, node } = await openPending(c)
    return pending.prompt === 'login' ? signIn.show(c, signInAt(c, pending, node)) : showConsent(c, pending)
  })

  signIn.mount(routes, '/oauth/interaction/:uid', async (c) => {
    const { pending, node } = await openPending(c)
    return pending.prompt === 'login' ? signInAt(c, pending, node) : c.redirect(path(pending), 303)
  })

  routes.post('/oauth/interaction/:uid/consent', wholeForm, async (c) => {
    const { pending, node } = await openPending(c)
    const fields = await ownForm(c, { csrf: pending.csrf, publicUrl })
    if (pending.prompt !== 'consent') return c.redirect(path(pending), 303)
    const verifiedBy = await verifiedIn(c, pending)
    try {
      const next = await interactions.consent(
        node.incoming,
        node.outgoing,
        pending,
        {
          shown: textOf(fields['shown']),
          objects: textsOf(fields['object']),
          subAgents: textsOf(fields['sub_agent']),
          seconds: Number(textOf(fields['seconds'])),
          ...(verifiedBy && { verifiedBy }),
        },
        c.get('txn'),
      )
      return c.redirect(next, 303)
    } catch (error) {
      if (!(error instanceof AppError) || error.status >= 500) throw error
      return showConsent(c, pending, error)
    }
  })

  routes.post('/oauth/interaction/:uid/refuse', wholeForm, async (c) => {
    const { pending, node } = await openPending(c)
    await ownForm(c, { csrf: pending.csrf, publicUrl })
    return c.redirect(await interactions.refuse(node.incoming, node.outgoing, pending, c.get('txn')), 303)
  })

  // RFC 8414 puts the well-known part before the issuer's path.
  routes.get('/.well-known/oauth-authorization-server/oauth', (c) =>
    mount(c, '/.well-known/openid-configuration'),
  )
  routes.all('/oauth/*', (c) => {
    const { pathname, search } = new URL(c.req.url)
    const inside = `${pathname.slice('/oauth'.length)}${search}`
    const form = begunAt(inside)
    return (form && begunLimit(c, form)) ?? mount(c, inside)
  })

  async function mount(c: AppContext, inside: string): Promise<Response> {
    const node = nodeOf(c)
    for (const [name, value] of Object.entries(pageHeaders())) node.outgoing.setHeader(name, value)
    await server.handle(node.incoming, node.outgoing, inside)
    return RESPONSE_ALREADY_SENT
  }

  async function openPending(
    c: AppContext,
  ): Promise<{ readonly pending: PendingInteraction; readonly node: NodeBindings }> {
    const node = nodeOf(c)
    const pending = await interactions.find(node.incoming, node.outgoing, c.req.param('uid') ?? '')
    if (pending === undefined)
      throw new AppError('not_found', { public: 'This request is over. Start again.' })
    return { pending, node }
  }

  function signInAt(
    c: AppContext,
    pending: PendingInteraction,
    { incoming, outgoing }: NodeBindings,
  ): SignInPlace {
    return {
      at: (step) => `${path(pending)}${step}`,
      csrf: pending.csrf,
      start: path(pending),
      client: pending.client.title,
      refuse: `${path(pending)}/refuse`,
      formTargets: formTargets(pending),
      finish: async (signedIn) =>
        c.redirect(await interactions.signedIn(incoming, outgoing, signedIn, c.get('txn')), 303),
    }
  }

  /** How this person was lately verified in this browser, on our own pages; undefined: they were not. */
  async function verifiedIn(
    c: AppContext,
    { person }: ConsentPending,
  ): Promise<readonly string[] | undefined> {
    const id = sessionCookie.read(c)
    const session = id === undefined ? undefined : await sessions.find(id)
    return session?.person === person && isVerifiedNow(session, now()) ? session.amr : undefined
  }

  async function showConsent(c: AppContext, pending: ConsentPending, problem?: AppError) {
    const isVerified = !pending.takesVerification || (await verifiedIn(c, pending)) !== undefined
    const page = consentPage({
      pending,
      action: `${path(pending)}/consent`,
      refuse: `${path(pending)}/refuse`,
      verify: isVerified ? undefined : `/sign-in?next=${encodeURIComponent(path(pending))}`,
      problem: problem?.public,
    })
    return showPage(c, page, {
      formTargets: formTargets(pending),
      status: problem?.status === 409 ? 409 : 200,
    })
  }

  return routes
}

const formTargets = ({ redirectUri }: PendingInteraction): readonly string[] =>
  redirectUri === undefined ? [] : [new URL(redirectUri).origin]

const path = ({ uid }: PendingInteraction): string => `/oauth/interaction/${encodeURIComponent(uid)}`

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

/** One API of this service, as clients have to know it before they ask for a token. */
export interface ProtectedResource {
  /** The audience of its tokens, as an exact string. */
  readonly resource: string
  readonly name: string
  /** Issuers whose tokens for exactly this audience are accepted, our own first. */
  readonly authorizationServers: readonly string[]
  readonly scopes: readonly string[]
  readonly authorizationDetailsTypes: readonly string[]
  /** Whether every token has to name an agent that acts (`act`). */
  readonly isActorRequired: boolean
}

export interface ProtectedResourceRoutesDeps {
  readonly resources: readonly ProtectedResource[]
  /** For people who build clients. */
  readonly documentation: string
}

const resourceMetadata = objectOf('ProtectedResourceMetadata', {
  resource: z.string(),
  resource_name: z.string(),
  resource_documentation: z.string(),
  authorization_servers: z.array(z.string()),
  scopes_supported: z.array(z.string()),
  bearer_methods_supported: z.array(z.literal('header')),
  dpop_signing_alg_values_supported: z.array(z.string()),
  authorization_details_types_supported: z.array(z.string()),
  actor_profile_required: z.boolean(),
})

/** RFC 9728 metadata, one document a resource, for anyone; browsers may read it from any origin. */
export function protectedResourceRoutes({ resources, documentation }: ProtectedResourceRoutesDeps): App {
  const routes = createRouter()
  for (const entry of resources) {
    const route = createRoute({
      method: 'get',
      path: new URL(metadataUrl(entry.resource)).pathname,
      summary: `Which tokens ${entry.name} takes, and who issues them (RFC 9728)`,
      responses: { 200: json('The metadata', resourceMetadata) },
    })
    routes.openapi(route, (c) => {
      c.header('access-control-allow-origin', '*')
      return c.json(toWire(entry, documentation), 200)
    })
  }
  return routes
}

const toWire = (entry: ProtectedResource, documentation: string): z.output<typeof resourceMetadata> => ({
  resource: entry.resource,
  resource_name: entry.name,
  resource_documentation: documentation,
  authorization_servers: [...entry.authorizationServers],
  scopes_supported: [...entry.scopes],
  bearer_methods_supported: ['header'],
  dpop_signing_alg_values_supported: [...proofAlgorithms],
  authorization_details_types_supported: [...entry.authorizationDetailsTypes],
  actor_profile_required: entry.isActorRequired,
})
