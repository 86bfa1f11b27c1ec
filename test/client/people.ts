import type { SignInRequired } from '@remit/client'
import * as openid from 'openid-client'
import type { Consent, IssuerWorld } from '../delegation/issuer/world.ts'

/** A person in front of a browser of their own, who enters the code that they are shown and agrees. */
export async function enterCode(
  world: IssuerWorld,
  { data }: { readonly data: Pick<SignInRequired['data'], 'verificationUri' | 'userCode'> },
  consent: Consent,
): Promise<void> {
  const browser = world.browser()
  const entry = await browser.open(data.verificationUri)
  const confirm = await browser.submit(entry, '/oauth/device', { user_code: data.userCode })
  const asked = await browser.submit(confirm, '/oauth/device')
  const done = await world.consent(browser, asked, consent)
  if (!done.text.includes('Connected')) throw new Error(`Not signed in:\n${done.text}`)
}

/**
 * What a program gets when a person signs in to it (code and PKCE): `agent-app` a token of its own, for
 * whatever it asked; the person's own `cli` one that can be addressed to an agent.
 */
export async function signInTo(
  world: IssuerWorld,
  client: 'agent-app' | 'cli',
  parameters: Readonly<Record<string, string>>,
  consent: Consent,
): Promise<string> {
  const options = { execute: [openid.allowInsecureRequests], algorithm: 'oauth2' as const }
  const proof = client === 'cli' ? openid.None() : openid.PrivateKeyJwt(world.keys[client])
  const config = await openid.discovery(new URL(world.issuer), client, undefined, proof, options)
  const pkceCodeVerifier = openid.randomPKCECodeVerifier()
  const browser = world.browser()
  const start = openid.buildAuthorizationUrl(config, {
    redirect_uri: world.redirectUri,
    code_challenge: await openid.calculatePKCECodeChallenge(pkceCodeVerifier),
    code_challenge_method: 'S256',
    ...parameters,
  })
  const back = await world.consent(browser, await browser.open(start.href), consent)
  return (await openid.authorizationCodeGrant(config, back.url, { pkceCodeVerifier })).access_token
}
