import { decodeJwt } from 'jose'
import * as client from 'openid-client'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { createConsents } from '../../../src/delegation/oauth/consents.ts'
import { createSignInValidity } from '../../../src/delegation/people/sign-in-validity.ts'
import { type OwnBrowser, openOwnBrowser } from '../../http/own-browser.ts'
import { faultyDatabase } from '../../security/faulty-database.ts'
import { type Backend, describeBackends } from '../../support/backends.ts'
import type { Browser } from './browser.ts'
import { type IssuerWorld, openIssuerWorld } from './world.ts'

/** A consent, its grant and what it lent, seen from all sides that can end one of them. */
describeBackends('a consent', (backend: Backend) => {
  const faults = faultyDatabase()
  let world: IssuerWorld
  let anne: OwnBrowser
  let browser: Browser
  let config: client.Configuration
  beforeAll(async () => {
    world = await openIssuerWorld({ backend, database: faults.wrap })
    await world.put({ 'handbook/travel': { text: 'Travel.', access: { viewers: ['user:anne'] } } })
    anne = await openOwnBrowser(world, 'anne')
    browser = world.browser()
    const { key, kid } = world.keys['agent-app']
    config = await client.discovery(
      new URL(world.issuer),
      'agent-app',
      undefined,
      client.PrivateKeyJwt({ key, kid }),
      {
        execute: [client.allowInsecureRequests],
        algorithm: 'oauth2',
      },
    )
  })
  afterAll(() => world?.[Symbol.asyncDispose]())

  async function begin() {
    const verifier = client.randomPKCECodeVerifier()
    const url = client.buildAuthorizationUrl(config, {
      redirect_uri: world.redirectUri,
      code_challenge: await client.calculatePKCECodeChallenge(verifier),
      code_challenge_method: 'S256',
    })
    return { page: await browser.open(url.href), verifier }
  }
  async function consented() {
    const { page, verifier } = await begin()
    const back = await world.consent(browser, page, { objects: ['collection:handbook'] })
    const tokens = await client.authorizationCodeGrant(config, back.url, { pkceCodeVerifier: verifier })
    const { delegation, grant_id } = decodeJwt(tokens.access_token)
    return { tokens, verifier, back, delegation: String(delegation), grant: String(grant_id) }
  }
  const refresh = (token: string | undefined) => client.refreshTokenGrant(config, token ?? '')
  const asked = async (token: string) =>
    (await world.call('POST', '/retrieve', { token, body: { query: 'travel' } })).status
  const rows = (grant: string) =>
    world.database.query(
      'select 1 from oauth_grants where grant_id = $1 union all select 1 from oauth_artifacts where grant_id = $1',
      [grant],
    )
  const state = async (id: string) => (await world.service.delegations.get(id))?.state

  test('that is taken back leaves no grant, no refresh token and no access token', async () => {
    const { tokens, delegation, grant } = await consented()
    expect(await asked(tokens.access_token)).toBe(200)
    const shown = await anne.browser.open(`${world.url}/delegations`)
    expect(shown.text).toContain('Research desktop')
    expect((await anne.send('DELETE', `/delegations/${delegation}`)).status).toBe(200)
    expect(await asked(tokens.access_token)).toBe(403)
    await expect(refresh(tokens.refresh_token)).rejects.toMatchObject({ error: 'invalid_grant' })
    expect(await rows(grant)).toEqual([])
  })

  test('is forgotten once both clocks say that it is over, the process’s and the database’s', async () => {
    const { tokens, grant } = await consented()
    const hour = 3_600_000
    const sweptBy = (aheadMs: number) => {
      const clock = { now: () => Date.now() + aheadMs }
      const signInValidity = createSignInValidity({ trustedIssuers: [], clock })
      const { database, service } = world
      return createConsents({ database, clock, delegations: service.delegations, signInValidity }).sweep()
    }
    const endsIn = (ms: number) =>
      world.database.query('update oauth_grants set expires_at = $1 where grant_id = $2', [
        new Date(Date.now() + ms),
        grant,
      ])
    await endsIn(hour)
    expect(await sweptBy(365 * 24 * hour)).toBe(0)
    expect((await refresh(tokens.refresh_token)).access_token).not.toBe('')
    await endsIn(-hour)
    expect(await sweptBy(-2 * hour)).toBe(0)
    expect(await sweptBy(0)).toBe(1)
  })

  test('ends with its grant: a refresh token that is used twice takes back what was lent', async () => {
    const { tokens, delegation, grant } = await consented()
    await refresh(tokens.refresh_token)
    await expect(refresh(tokens.refresh_token)).rejects.toMatchObject({ error: 'invalid_grant' })
    expect(await state(delegation)).toBe('revoked')
    expect(await rows(grant)).toEqual([])
  })

  test('ends with its grant: a code that is used twice takes back what was lent', async () => {
    const { tokens, delegation, back, verifier } = await consented()
    await expect(
      client.authorizationCodeGrant(config, back.url, { pkceCodeVerifier: verifier }),
    ).rejects.toMatchObject({ error: 'invalid_grant' })
    expect(await state(delegation)).toBe('revoked')
    expect(await asked(tokens.access_token)).not.toBe(200)
  })

  test('ends with its grant: its client gives the refresh token back', async () => {
    const { tokens, delegation, grant } = await consented()
    await client.tokenRevocation(config, tokens.refresh_token ?? '')
    expect(await state(delegation)).toBe('revoked')
    expect(await rows(grant)).toEqual([])
    expect(await asked(tokens.access_token)).not.toBe(200)
    const [revoked] = await world.database.query(
      "select subject, client from decision_records where event = 'delegation_revoked' and delegation = $1",
      [delegation],
    )
    expect(revoked).toEqual({ subject: 'user:anne', client: 'agent-app' })
  })

  test('is on record before its code is worth anything; a refusal too', async () => {
    const { delegation, grant } = await consented()
    const made = await world.database.query<{ event: string; detail: object }>(
      'select event, detail from decision_records where delegation = $1 order by record_no',
      [delegation],
    )
    expect(made.slice(0, 2)).toMatchObject([
      { event: 'delegation_made', detail: { lender: 'user:anne', scope: ['collection:handbook'] } },
      { event: 'consented', detail: { client: 'agent-app', grant, resource: world.url } },
    ])
    const { page } = await begin()
    await browser.submit(page, '/refuse')
    expect(
      await world.database.query(
        "select subject, detail from decision_records where event = 'consent_refused'",
      ),
    ).toEqual([{ subject: 'user:anne', detail: { client: 'agent-app' } }])
  })

  test('that cannot be put on record lends nothing, and one that cannot be taken back on record says so', async () => {
    const wish = {
      agent: 'research-bot',
      scope: ['collection:handbook'],
      expires_at: new Date(Date.now() + 3_600_000).toISOString(),
      purpose: 'tests',
    }
    const { delegation } = await consented()
    const { page } = await begin()
    const live = () => world.service.delegations.listLive()
    const before = await live()
    faults.set(/insert into decision_records/)
    try {
      expect((await anne.send('POST', '/delegations', { body: wish })).status).toBe(503)
      expect((await anne.send('DELETE', `/delegations/${delegation}`)).status).toBe(503)
      expect((await world.consent(browser, page, { objects: ['collection:handbook'] })).status).toBe(503)
    } finally {
      faults.set(undefined)
    }
    expect(await live()).toEqual(before)
    expect(await state(delegation)).toBe('live')
  })
})
