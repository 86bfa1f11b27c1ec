import * as client from 'openid-client'
import type { Page } from 'playwright-core'
import type { IssuerWorld } from '../delegation/issuer/world.ts'
import type { Chromium } from '../support/chromium.ts'

/**
 * An agent's application sends a person's browser to sign in, which `signIn` does, and to lend the handbook.
 * Gives the agent's token.
 */
export async function lendTo(
  world: Pick<IssuerWorld, 'issuer' | 'keys' | 'redirectUri'>,
  { page, context }: Pick<Chromium, 'page' | 'context'>,
  signIn: (page: Page) => Promise<void>,
): Promise<string> {
  const { key, kid } = world.keys['agent-app']
  const options = { execute: [client.allowInsecureRequests] }
  const proof = client.PrivateKeyJwt({ key, kid })
  const config = await client.discovery(new URL(world.issuer), 'agent-app', undefined, proof, options)
  const verifier = client.randomPKCECodeVerifier()
  await context.route('https://app.test/**', (route) => route.fulfill({ body: 'Back at the application.' }))
  await page.goto(
    client.buildAuthorizationUrl(config, {
      redirect_uri: world.redirectUri,
      scope: 'docs.search docs.read',
      code_challenge: await client.calculatePKCECodeChallenge(verifier),
      code_challenge_method: 'S256',
    }).href,
  )
  await signIn(page)
  await page.getByRole('heading', { name: /^Let .+ read for you\?$/ }).waitFor()
  await page.getByLabel('The handbook').check()
  await page.getByRole('button', { name: 'Agree' }).click()
  await page.waitForURL('https://app.test/**')
  const back = new URL(page.url())
  return (await client.authorizationCodeGrant(config, back, { pkceCodeVerifier: verifier })).access_token
}
