import { z } from '@hono/zod-openapi'
import { hostsAnswer } from '@remit/contract/agents'
import type { DeniedHosts } from '../../../delegation/oauth/cimd/hosts.ts'
import { type App, createRouter, reply } from '../../env.ts'
import type { RequireBearer } from '../../middleware/bearer.ts'
import { bearerRoute, json, problems } from '../../schemas.ts'
import { assertAdministrator, type IsAdministrator } from '../writing.ts'

export interface HostRouteDeps {
  readonly hosts: Pick<DeniedHosts, 'deny' | 'list'>
  readonly requireBearer: RequireBearer
  /** Of the role `agents.write`. */
  readonly isAdministrator: IsAdministrator
  readonly now: () => number
}

const params = z.strictObject({ host: z.string().max(253).openapi({ example: 'assistant.example' }) })
const disabled = z
  .strictObject({ host: z.string(), agents: z.array(z.string()), txn: z.string() })
  .openapi('HostDisabled')
const list = hostsAnswer.clone().openapi('HostList')

/**
 * `POST /hosts/{host}/disable`, `GET /hosts`: whose programs may not come, for a person who is an
 * administrator with `agents.write` and signed in within 15 minutes. No route enables: `remit host enable`.
 */
export function hostRoutes({ hosts, requireBearer, isAdministrator, now }: HostRouteDeps): App {
  const administrator = requireBearer({ kinds: ['person'], scopes: ['agents.write'] })
  const disableRoute = bearerRoute('post', '/hosts/{host}/disable', {
    summary:
      'The kill switch for clients that nobody registered: none of this host, or a name below it, comes any more',
    middleware: [administrator],
    request: { params },
    responses: { 200: json('Disabled, with every agent that came from it', disabled), ...problems() },
  })
  const listRoute = bearerRoute('get', '/hosts', {
    summary: 'Hosts that are disabled',
    middleware: [administrator],
    responses: { 200: json('By name', list), ...problems() },
  })
  return createRouter()
    .openapi(disableRoute, async (c) => {
      await assertAdministrator(c.get('principal'), isAdministrator, now())
      const { host, agents } = await hosts.deny(c.get('principal'), c.req.valid('param').host)
      return reply(c, { host, agents: [...agents] })
    })
    .openapi(listRoute, async (c) => {
      await assertAdministrator(c.get('principal'), isAdministrator, now())
      const found = (await hosts.list()).map(({ host, since: disabledSince }) => ({
        host,
        since: disabledSince.toISOString(),
      }))
      return reply(c, { hosts: found })
    })
}
