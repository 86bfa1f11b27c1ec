import type { UpstreamSignIns } from '../../../delegation/upstream/sign-ins.ts'
import { type App, createRouter } from '../../env.ts'
import { pageHeaders } from '../../pages/layout.ts'
import { onwardsPage } from '../../pages/onwards.ts'
import { upstreamFailedPage } from '../../pages/upstream.ts'
import type { OwnCookie } from '../../sign-in/cookies.ts'

export interface UpstreamRoutesDeps {
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
 * Where other providers send the browser back to. Says only who came back; what began it goes on from a page of ours,
 * since a browser that comes from another site leaves strict cookies out.
 */
export function upstreamRoutes({ upstream, cookie }: UpstreamRoutesDeps): App {
  const routes = createRouter()
  routes.get('/sign-in/upstream/:namespace/callback', async (c) => {
    const { search } = new URL(c.req.url)
    const returned = await upstream.returned(c.req.param('namespace'), search, cookie.read(c))
    for (const [name, value] of Object.entries(pageHeaders())) c.header(name, value)
    if (returned.ok) return c.html(onwardsPage(returned.next))
    return c.html(upstreamFailedPage(problems[returned.reason], returned.back ?? '/sign-in'), 400)
  })
  return routes
}
