import { decodeJwt } from 'jose'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { connectCallbackPath } from '../../src/delegation/vault/provider-client.ts'
import { openBrowser, type Page } from '../delegation/issuer/browser.ts'
import { type IssuerWorld, openIssuerWorld } from '../delegation/issuer/world.ts'
import { type OwnBrowser, openOwnBrowser } from '../http/own-browser.ts'
import { openRealm, type Realm } from '../support/keycloak.ts'
import { native, needsKeycloak } from '../support/native.ts'

const person = { name: 'anne', password: 'of the realm' }
const secret = 'a secret of the test'
const userinfo = (realm: Realm) => `${new URL(realm.issuer).pathname}/protocol/openid-connect/userinfo`

/**
 * One realm, of which an account is linked twice: as it is, and where its tokens are exchanged for narrower
 * ones first.
 */
describe('an account at a live Keycloak', needsKeycloak, () => {
  let realm: Realm
  let world: IssuerWorld
  let anne: OwnBrowser
  let token: string
  let sub: string
  beforeAll(async () => {
    if (native.keycloak === undefined) return
    const { origin } = new URL(native.keycloak.url)
    realm = await openRealm({ rotates: true, scopes: ['reports.read'] })
    sub = await realm.addUser(person)
    const entry = {
      provider: 'openid',
      issuer: realm.issuer,
      api_origins: [origin],
      client_id: 'remit',
      client_secret_env: 'REALM_SECRET',
      scopes: ['openid', 'email', 'reports.read'],
      // Its API is its own userinfo here; what hands out tokens stays closed.
      mints: ['/realms/*/protocol/openid-connect/token/**', '/admin/**'],
      rules: [{ title: 'See who I am', methods: ['GET'], paths: [userinfo(realm)] }],
    }
    world = await openIssuerWorld({
      env: {
        VAULT_PROVIDERS: JSON.stringify([
          { ...entry, name: 'realm', title: 'The realm' },
          { ...entry, name: 'narrow', title: 'Narrow', token_exchange: { scope: 'openid' } },
        ]),
        REALM_SECRET: secret,
        OUTBOUND_ALLOWED_ORIGINS: origin,
      },
    })
    await realm.addClient({
      id: 'remit',
      secret,
      exchanges: true,
      redirectUris: ['realm', 'narrow'].map((name) => `${world.url}${connectCallbackPath(name)}`),
    })
    anne = await openOwnBrowser(world, 'anne')
    await world.lend('anne', 'research-bot', 'organization:acme')
    token = await world.token({ user: 'anne', agent: 'research-bot' })
  }, 120_000)
  afterAll(async () => {
    await world?.[Symbol.asyncDispose]()
    await realm?.[Symbol.asyncDispose]()
  })

  const ask = async (connection: string, path = userinfo(realm)) => {
    const body = { connection, method: 'GET', path }
    const response = await world.call('POST', '/vault/fetch', { token, body })
    return (await response.json()) as Readonly<Record<string, unknown>>
  }
  const onwards = ({ text }: Page): string =>
    (/http-equiv="refresh" content="0;url=([^"]+)"/.exec(text)?.[1] ?? text).replaceAll('&amp;', '&')

  /** Signs in there by its own form, which leads back to our callback. */
  async function signInThere(url: string): Promise<string> {
    const browser = openBrowser(realm.issuer)
    const form = await browser.open(url)
    const text = form.text.replaceAll('&amp;', '&')
    const action = /<form[^>]*id="kc-form-login"[^>]*action="([^"]+)"/.exec(text)?.[1] ?? 'none'
    const back = await browser.submit({ ...form, text }, action, {
      username: person.name,
      password: person.password,
    })
    return back.url.href
  }

  /**
   * The agent is refused, its person opens the page that the refusal names, agrees, and goes there and back.
   */
  async function connect(name: string): Promise<Page> {
    const refused = await ask(name)
    expect(refused).toMatchObject({ status: 409, connect_url: expect.stringContaining(world.url) })
    const asked = await anne.browser.open(String(refused['connect_url']))
    const going = await anne.browser.submit(asked, `/connections/${name}/connect`, { rule: 'See who I am' })
    const returned = await anne.browser.open(await signInThere(onwards(going)))
    return anne.browser.open(new URL(onwards(returned), world.url).href)
  }

  const row = async (name: string) => {
    const [found] = await world.database.query<{ id: string; state: string; sealed_at: Date }>(
      `select * from connections where provider = $1 and state <> 'ended'`,
      [name],
    )
    if (found === undefined) throw new Error('It is not connected.')
    return found
  }
  const isOver = (name: string) =>
    world.database.query('update connections set token_expires_at = now() where provider = $1', [name])

  test('is connected by its own sign-in, used, refreshed by a rotating token, and noticed when it is ended there', async () => {
    expect((await connect('realm')).text).toContain('Connected.')
    const answer = await ask('realm')
    expect(answer).toMatchObject({ status: 200, encoding: 'text' })
    expect(JSON.parse(String(answer['body']))).toMatchObject({ sub, email: 'anne@example.test' })
    // What hands out tokens there is closed, whatever was agreed to.
    expect(await ask('realm', userinfo(realm).replace(/userinfo$/, 'token'))).toMatchObject({
      code: 'forbidden',
    })

    // Three times, since a refresh token that is used a second time ends them all.
    for (let time = 0; time < 3; time += 1) {
      const before = await row('realm')
      await isOver('realm')
      const answers = await Promise.all(Array.from({ length: 5 }, () => ask('realm')))
      expect(answers.map(({ status }) => status)).toEqual([200, 200, 200, 200, 200])
      expect((await row('realm')).sealed_at.getTime()).toBeGreaterThan(before.sealed_at.getTime())
    }

    await realm.signOut(sub)
    await isOver('realm')
    const refused = await ask('realm')
    expect(refused).toMatchObject({ status: 409, code: 'reconnect_required' })
    expect(await row('realm')).toMatchObject({ state: 'needs_reconnect' })
    // And is mended by its person, with what they had agreed to.
    expect((await connect('realm')).text).toContain('Connected.')
    expect(await ask('realm')).toMatchObject({ status: 200 })
  }, 60_000)

  test('is used by a narrower token where it exchanges them, and that one only', async () => {
    await connect('narrow')
    expect(await ask('narrow')).toMatchObject({ status: 200 })
    const { connections } = world.service.vault
    // For the agent that it was agreed with: nobody else is given it.
    const claimsOf = async ({ id }: { readonly id: string }) => {
      const [agreed] = await world.database.query<{ agent: string; client: string; delegation: string }>(
        `select a.agent, a.client, d.id as delegation from connection_agents as a join delegations as d using (agent)
         where a.connection = $1 and d.subject = 'user:anne' and d.state = 'live'`,
        [id],
      )
      const by = {
        subject: 'user:anne',
        actors: [`agent:${agreed?.agent}`],
        client: String(agreed?.client),
        delegation: String(agreed?.delegation),
        txn: 't_tests',
      } as const
      return connections.withToken(id, async (one) => decodeJwt(one), { recordedAs: by })
    }
    const narrow = await claimsOf(await row('narrow'))
    const whole = await claimsOf(await row('realm'))
    expect(String(whole['scope']).split(' ')).toContain('reports.read')
    expect(String(narrow['scope']).split(' ')).not.toContain('reports.read')
    expect([narrow.sub, whole.sub]).toEqual([sub, sub])
    // Taken back there while the token still lasts: the exchange is refused, the refresh too, and the person
    // is told.
    await realm.signOut(sub)
    expect(await ask('narrow')).toMatchObject({ status: 409, code: 'reconnect_required' })
  }, 60_000)
})
