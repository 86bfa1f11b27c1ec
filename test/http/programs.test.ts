import { decodeJwt } from 'jose'
import * as client from 'openid-client'
import { afterAll, beforeAll, expect, test } from 'vitest'
import type { Browser } from '../delegation/issuer/browser.ts'
import { type IssuerWorld, openIssuerWorld } from '../delegation/issuer/world.ts'
import { faultyDatabase } from '../security/faulty-database.ts'
import { describeDatabases } from '../support/backends.ts'
import { type OwnBrowser, openOwnBrowser } from './own-browser.ts'

interface Program {
  readonly id: string
  readonly client_id: string
  readonly title: string
  readonly agent?: string
  readonly hands_to?: string
  readonly delegation?: string
}

describeDatabases('a program that somebody signed in', (database) => {
  const faults = faultyDatabase()
  let world: IssuerWorld
  let anne: OwnBrowser
  let bob: OwnBrowser
  let browser: Browser
  beforeAll(async () => {
    world = await openIssuerWorld({
      backend: { database, openfga: 'engine' },
      database: faults.wrap,
    })
    await world.put({ 'handbook/travel': { text: 'Travel.', access: { viewers: ['user:anne'] } } })
    anne = await openOwnBrowser(world, 'anne')
    bob = await openOwnBrowser(world, 'bob')
    browser = world.browser()
  })
  afterAll(() => world?.[Symbol.asyncDispose]())

  async function signedIn(clientId: 'cli' | 'agent-app', resource?: string) {
    const { key, kid } = world.keys['agent-app']
    const config = await client.discovery(
      new URL(world.issuer),
      clientId,
      undefined,
      clientId === 'cli' ? client.None() : client.PrivateKeyJwt({ key, kid }),
      { execute: [client.allowInsecureRequests], algorithm: 'oauth2' },
    )
    const verifier = client.randomPKCECodeVerifier()
    const url = client.buildAuthorizationUrl(config, {
      redirect_uri: world.redirectUri,
      scope: 'docs.search',
      ...(resource !== undefined && { resource }),
      code_challenge: await client.calculatePKCECodeChallenge(verifier),
      code_challenge_method: 'S256',
    })
    const page = await browser.open(url.href)
    const back = await world.consent(
      browser,
      page,
      clientId === 'cli' ? {} : { objects: ['collection:handbook'] },
    )
    const tokens = await client.authorizationCodeGrant(config, back.url, { pkceCodeVerifier: verifier })
    const refresh = () => client.refreshTokenGrant(config, tokens.refresh_token ?? '')
    return { token: tokens.access_token, grant: String(decodeJwt(tokens.access_token)['grant_id']), refresh }
  }
  const listed = async (who: OwnBrowser) =>
    ((await (await who.send('GET', '/delegations')).json()) as { programs: Program[] }).programs
  const asked = async (token: string) =>
    (await world.call('POST', '/retrieve', { token, body: { query: 'travel' } })).status
  const end = (who: OwnBrowser, id: string) => who.send('DELETE', `/delegations/programs/${id}`)
  const live = async () => (await world.service.delegations.listLive()).length

  test('is listed as whom it acts, for its person alone, and is over with its next request', async () => {
    const [cli, other] = [await signedIn('cli'), await signedIn('cli')]
    const agent = await signedIn('agent-app')
    const programs = await listed(anne)
    expect(programs.map(({ id }) => id).toSorted()).toEqual(
      [cli, other, agent].map(({ grant }) => grant).toSorted(),
    )
    expect(programs.find(({ id }) => id === cli.grant)).toEqual({
      id: cli.grant,
      client_id: 'cli',
      title: 'Remit CLI',
      signed_in_at: expect.any(String),
      expires_at: expect.any(String),
    })
    expect(programs.find(({ id }) => id === agent.grant)).toMatchObject({
      title: 'Research desktop',
      agent: 'research-bot',
      delegation: expect.stringMatching(/^d_/),
    })
    expect(await listed(bob)).toEqual([])

    expect(await asked(cli.token)).toBe(200)
    expect((await end(anne, cli.grant)).status).toBe(200)
    expect(await asked(cli.token)).toBe(401)
    await expect(cli.refresh()).rejects.toMatchObject({ error: 'invalid_grant' })
    // One by one: nothing else of hers ended.
    expect(await asked(other.token)).toBe(200)
    expect((await other.refresh()).access_token).toEqual(expect.any(String))
    expect(await asked(agent.token)).toBe(200)
    expect((await listed(anne)).map(({ id }) => id)).not.toContain(cli.grant)
    expect((await end(anne, cli.grant)).status).toBe(404)
    const rows = await world.database.query(
      `select subject, client, detail from decision_records where event = 'consent_ended'`,
    )
    expect(rows).toEqual([
      { subject: 'user:anne', client: 'remit-pages', detail: { client: 'cli', grant: cli.grant } },
    ])
  })

  test('that only hands its token to an agent is said to, as where the person agreed, and not to act as them', async () => {
    const { grant, token } = await signedIn('cli', `${world.url}/agents/research-bot`)
    expect(await asked(token)).toBe(401)
    expect((await listed(anne)).find(({ id }) => id === grant)).toMatchObject({ hands_to: 'research-bot' })
    const { text } = await anne.browser.open(`${world.url}/delegations`)
    const row = text.split('<li>').find((one) => one.includes(`/delegations/programs/${grant}/end`))
    expect(row).toMatch(/Hands this to the agent <strong>[^<]+<\/strong> \(<code>research-bot<\/code>\)/)
    expect(row).not.toContain('Acts as you')
    await end(anne, grant)
  })

  test('takes along what was lent by the same consent, and nothing that was lent before', async () => {
    const before = await live()
    const agent = await signedIn('agent-app')
    expect(await live()).toBe(before + 1)
    expect((await end(anne, agent.grant)).status).toBe(200)
    expect(await live()).toBe(before)
    expect(await asked(agent.token)).not.toBe(200)
    await expect(agent.refresh()).rejects.toMatchObject({ error: 'invalid_grant' })

    // As a yes by CIBA leaves it: the grant rests on what stood before.
    const earlier = await signedIn('agent-app')
    await world.database.query('update oauth_grants set lends = false where grant_id = $1', [earlier.grant])
    expect((await end(anne, earlier.grant)).status).toBe(200)
    expect(await live()).toBe(before + 1)
    expect(await asked(earlier.token)).toBe(401)
  })

  test('of another person answers as one that does not exist', async () => {
    const { grant, token } = await signedIn('cli')
    const theirs = await end(bob, grant)
    const none = await end(bob, 'none')
    expect(theirs.status).toBe(404)
    const body = async (response: Response) => ({ ...((await response.json()) as object), txn: 'any' })
    expect(await body(theirs)).toEqual(await body(none))
    expect(await asked(token)).toBe(200)
  })

  test('ends wholly or not at all', async () => {
    const { grant, token, refresh } = await signedIn('cli')
    faults.set(/insert into decision_records/)
    try {
      expect((await end(anne, grant)).status).toBe(503)
    } finally {
      faults.set(undefined)
    }
    expect(await asked(token)).toBe(200)
    expect((await refresh()).access_token).toEqual(expect.any(String))
  })

  test('has its button on the page, whose second press is no error; no token may press it', async () => {
    const { grant, token } = await signedIn('cli')
    const bearer = await anne.send('DELETE', `/delegations/programs/${grant}`, {
      headers: { authorization: `Bearer ${token}` },
    })
    expect(bearer.status).toBe(403)
    const page = await anne.browser.open(`${world.url}/delegations`)
    expect(page.text).toContain('Acts as you, with all that you may read')
    expect(page.text).toContain('Acts for you as <code>research-bot</code>')
    const action = `/delegations/programs/${grant}/end`
    expect((await anne.browser.submit(page, action)).text).toContain('That program has to ask you again.')
    expect((await anne.browser.submit(page, action)).status).toBe(200)
    expect(await asked(token)).toBe(401)
  })
})
