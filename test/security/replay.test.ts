import * as client from 'openid-client'
import { afterAll, beforeAll, expect, test } from 'vitest'
import type { Browser } from '../delegation/issuer/browser.ts'
import { type IssuerWorld, openIssuerWorld } from '../delegation/issuer/world.ts'
import { describeDatabases } from '../support/backends.ts'

// Twenty at the same time, each with the same bearer value and everything else right. One of them at most
// gets anything: whoever comes after it is taken for a thief, and then all that came of it is over, which may
// be before it is sent. That exactly one uses it up, whatever becomes of the grant, is shown at the store:
// artifacts.test.ts.

const parallel = 20

describeDatabases(
  'of 20 redemptions at once one succeeds at most, and the next try ends all that came of it',
  (database) => {
    let world: IssuerWorld
    let browser: Browser
    let agent: client.Configuration
    let open: client.Configuration
    beforeAll(async () => {
      world = await openIssuerWorld({ backend: { database, openfga: 'engine' } })
      browser = world.browser()
      await world.put({ 'handbook/travel': { text: 'Travel costs.', access: { viewers: ['user:anne'] } } })
      const { key, kid } = world.keys['agent-app']
      agent = await as('agent-app', client.PrivateKeyJwt({ key, kid }))
      open = await as('public-agent', client.None())
    })
    afterAll(() => world?.[Symbol.asyncDispose]())

    const as = (id: string, auth: client.ClientAuth) =>
      client.discovery(new URL(world.issuer), id, undefined, auth, {
        execute: [client.allowInsecureRequests],
        algorithm: 'oauth2',
      })

    async function authorized() {
      const pkceCodeVerifier = client.randomPKCECodeVerifier()
      const url = client.buildAuthorizationUrl(agent, {
        redirect_uri: world.redirectUri,
        code_challenge: await client.calculatePKCECodeChallenge(pkceCodeVerifier),
        code_challenge_method: 'S256',
      })
      const page = await browser.open(url.href)
      const back = await world.consent(browser, page, { objects: ['collection:handbook'] })
      return { url: back.url, checks: { pkceCodeVerifier } }
    }

    async function redeemed(redeem: () => Promise<{ readonly access_token: string }>): Promise<void> {
      const outcomes = await Promise.allSettled(Array.from({ length: parallel }, redeem))
      for (const outcome of outcomes)
        if (outcome.status === 'rejected') expect(outcome.reason).toMatchObject({ error: 'invalid_grant' })
      const tokens = outcomes.flatMap((one) => (one.status === 'fulfilled' ? [one.value.access_token] : []))
      expect(tokens.length).toBeLessThanOrEqual(1)
      await expect(redeem()).rejects.toMatchObject({ error: 'invalid_grant' })
      for (const token of tokens) {
        const { status } = await world.call('POST', '/retrieve', { token, body: { query: 'travel' } })
        expect([401, 403]).toContain(status)
      }
    }

    test('of one code', async () => {
      const { url, checks } = await authorized()
      await redeemed(() => client.authorizationCodeGrant(agent, url, checks))
    })

    test('of one refresh token', async () => {
      const { url, checks } = await authorized()
      const { refresh_token = '' } = await client.authorizationCodeGrant(agent, url, checks)
      await redeemed(() => client.refreshTokenGrant(agent, refresh_token))
    })

    test('of one device code', async () => {
      const started = await client.initiateDeviceAuthorization(open, { scope: 'docs.search' })
      const entry = await browser.open(started.verification_uri)
      const confirm = await browser.submit(entry, '/oauth/device', { user_code: started.user_code })
      const asked = await browser.submit(confirm, '/oauth/device')
      await world.consent(browser, asked, { objects: ['collection:handbook'] })
      const grant = 'urn:ietf:params:oauth:grant-type:device_code'
      const { device_code } = started
      await redeemed(() => client.genericGrantRequest(open, grant, { device_code }))
    })

    test('of one pushed request: it starts one sign-in', async () => {
      const verifier = client.randomPKCECodeVerifier()
      const url = await client.buildAuthorizationUrlWithPAR(agent, {
        redirect_uri: world.redirectUri,
        code_challenge: await client.calculatePKCECodeChallenge(verifier),
        code_challenge_method: 'S256',
      })
      const back = await world.consent(browser, await browser.open(url.href), {
        objects: ['collection:handbook'],
      })
      expect(back.url.searchParams.has('code')).toBe(true)
      const again = await browser.open(url.href)
      expect(again.url.searchParams.has('code')).toBe(false)
      expect(again.text).not.toContain('read for you?')
    })
  },
)
