import * as client from 'openid-client'
import { createFgaApi } from '../../../src/authz/openfga.ts'
import { compose } from '../../../src/compose/compose.ts'
import { createSystemFetch } from '../../../src/outbound/guarded-fetch.ts'
import { listen } from '../../../src/start.ts'
import { openPostgres } from '../../../src/store/postgres.ts'
import { openIssuerWorld } from '../../delegation/issuer/world.ts'
import { asWorker, overDatabase, type Pair, type Side } from '../../support/interleavings.ts'
import { native } from '../../support/native.ts'
import { freePort } from '../../support/port.ts'
import { applicationOf, plantedIn, rowsOf, sends, urlOf } from './two.ts'

/** Redeems a code whether or not another did meanwhile. */
export const redeemsAgain = sends((text) =>
  text.includes('set consumed_at') ? text.replace('and consumed_at is null', '') : text,
)

export interface ExchangePair extends Pair, AsyncDisposable {}

/** One code, redeemed at the token endpoints of two whole services. */
export async function openExchange(plant: Parameters<typeof plantedIn>[1]): Promise<ExchangePair> {
  await using stack = new AsyncDisposableStack()
  const world = stack.use(await openIssuerWorld({ backend: { database: 'postgres', openfga: 'server' } }))
  const { database } = world
  const { url = '', token = '' } = native.openfga ?? {}
  const open = async (side: Side) => {
    const opened = stack.use(await openPostgres({ url: await urlOf(database), poolSize: 4 }))
    const steps = overDatabase(opened)
    const port = await freePort()
    const service = stack.use(
      await compose({
        config: { ...world.config, port },
        infrastructure: {
          database: plantedIn(
            {
              ...steps,
              // What the server supports is kept for a while.
              query: (text, values) =>
                (text.includes('unnest(authorization_details_types)') ? opened : steps).query(text, values),
            },
            plant,
          ),
          openfga: createFgaApi({ apiUrl: url, apiToken: token, timeoutMs: 10_000 }),
          embeddings: { available: false, reason: 'none is needed' },
          [Symbol.asyncDispose]: async () => undefined,
        },
        clock: { now: Date.now },
        log: () => undefined,
        fetch,
        outboundTo: createSystemFetch,
      }),
    )
    const answer: typeof service.app.fetch = (...request) =>
      asWorker(side, () => service.app.fetch(...request))
    stack.use(await listen({ fetch: answer, host: '127.0.0.1', port, drainMs: 100 }))
    return { at: `http://127.0.0.1:${port}/oauth/token`, application: await applicationOf(opened) }
  }
  const services = { A: await open('A'), B: await open('B') }
  const config = await client.discovery(new URL(world.issuer), 'public-agent', undefined, client.None(), {
    execute: [client.allowInsecureRequests],
    algorithm: 'oauth2',
  })
  await world.put({ 'handbook/travel': { access: { viewers: ['user:anne'] } } })
  await world.write('user:anne member organization:acme')
  // Signed in once.
  const browser = world.browser()
  const redirectUri = 'http://127.0.0.1/callback'
  const owned = stack.move()
  return {
    name: 'code × code',
    database,
    applications: { A: services.A.application, B: services.B.application },
    async begin() {
      const verifier = client.randomPKCECodeVerifier()
      const page = await browser.open(
        client.buildAuthorizationUrl(config, {
          redirect_uri: redirectUri,
          code_challenge: await client.calculatePKCECodeChallenge(verifier),
          code_challenge_method: 'S256',
          scope: 'docs.search',
          resource: world.url,
        }).href,
      )
      const back = await world.consent(browser, page, { objects: ['collection:handbook'] })
      const code = back.url.searchParams.get('code')
      if (code === null) throw new Error(`No code: ${back.url.href} ${back.text.slice(0, 2_000)}`)
      const [{ grant_id } = { grant_id: '' }] = await database.query<{ grant_id: string }>(
        `select grant_id from oauth_artifacts where model = 'AuthorizationCode'
         order by expires_at desc limit 1`,
      )
      const redeem = (side: Side) => async () => {
        const response = await fetch(services[side].at, {
          method: 'POST',
          body: new URLSearchParams({
            grant_type: 'authorization_code',
            client_id: 'public-agent',
            code,
            code_verifier: verifier,
            redirect_uri: redirectUri,
          }),
        })
        const answer = (await response.json()) as { readonly error?: string }
        return response.status === 200 ? 'a token' : `${response.status} ${answer.error}`
      }
      const rows = { oauth_artifacts: ['grant_id', grant_id] } as const
      return {
        A: redeem('A'),
        B: redeem('B'),
        look: () => rowsOf(database, rows),
        timePasses: async () => undefined,
        async end({ A, B }, said) {
          const given = [A, B].filter((one) => 'value' in one && one.value === 'a token').length
          if (given > 1) return 'two tokens for one code'
          // One that comes a second time ends its grant (RFC 6749 §4.1.2): then nobody has anything.
          const ended = await database.query(
            `select 1 from revocations where kind = 'grant' and position($1 in key) > 0`,
            [grant_id],
          )
          if (given === 0 && ended.length === 0 && !said.some((step) => /^.[!~]/.test(step)))
            return 'nobody had it'
          if ([A, B].some((one) => 'value' in one && String(one.value).startsWith('500'))) return 'an error'
          return undefined
        },
        close: async () => undefined,
      }
    },
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  }
}
