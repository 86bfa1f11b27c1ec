import { readFileSync } from 'node:fs'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { operator } from '../../src/audit/record.ts'
import type { RequestedAccess } from '../../src/delegation/approvals/requested-access.ts'
import { digestOfBody } from '../../src/delegation/vault/call.ts'
import { password } from '../delegation/issuer/world.ts'
import { needsChromium } from '../support/native.ts'
import { sideways } from '../support/screen.ts'
import { type ConsolePage, type ConsoleWorld, openConsoleWorld } from './open.ts'

// One word that no browser breaks by itself, and words in a number that nobody planned for.
const longWord = 'Aufbewahrungsfristenverzeichnis'.repeat(3)
const longTitle = `${'Everything that was ever filed, '.repeat(2)}${longWord}`
const longId = `finance/${longWord}/2026`

describe('on a small screen, with the longest titles and ids', needsChromium, () => {
  let world: ConsoleWorld
  let browser: ConsolePage
  let delegation: string
  let txn: string
  let plan: string
  beforeAll(async () => {
    if (needsChromium.skip === true) return
    world = await openConsoleWorld({
      env: {
        VAULT_PROVIDERS: JSON.stringify([
          {
            provider: 'github',
            client_id: 'remit',
            client_secret_env: 'GITHUB_SECRET',
            title: longWord.slice(0, 60),
          },
        ]),
        GITHUB_SECRET: 'tests',
        MODEL_APPLY_APPROVERS: '2',
      },
    })
    const { service, database } = world
    await service.ingest.saveCollection(operator('test'), {
      id: 'finance',
      title: longTitle,
      publicAllowed: false,
    })
    await service.agents.save({
      id: 'research-bot',
      owner: 'user:dan',
      title: longTitle,
      purpose: longTitle,
      issuer: service.ownIssuer,
      sub: 'research-bot',
    })
    await world.put({
      [longId]: {
        collection: 'finance',
        title: longTitle,
        text: 'The budget.',
        access: { owner: 'user:anne', viewers: [`group:${longWord}#member`] },
      },
      'finance/minutes': {
        collection: 'finance',
        title: longTitle,
        access: { owner: 'user:bob', viewers: ['user:anne'], sensitive: true },
      },
    })
    await world.write(`user:anne member group:${longWord}`)
    await database.query(
      `insert into connections (id, subject, provider, issuer, account, account_title, state, scopes, sealed, wrapped_key,
         key_version, token_expires_at, refreshable, sealed_at, created_at)
       values ('c_1', 'user:anne', 'github', 'https://github.com/login/oauth', '1', $1, 'live', '{}', 'none', 'none',
         'home', now(), true, now(), now())`,
      [longWord],
    )
    delegation = (
      await service.delegations.lend({
        subject: 'user:anne',
        agent: 'research-bot',
        scope: ['collection:finance', `document:${longId}`],
        purpose: longTitle,
        expiresAt: new Date(Date.now() + 3_600_000),
      })
    ).id
    const token = await world.token({ user: 'anne', agent: 'research-bot' })
    txn = (await world.retrieve(token, { query: 'budget' })).txn
    const model = readFileSync(new URL('../../model.fga', import.meta.url), 'utf8')
    const planned = await world.call('POST', '/model/plan', {
      token: await world.token({ user: 'anne' }),
      body: {
        model: model.replace(/define can_read: .*/, 'define can_read: viewer'),
        allow_list: `# ${longWord}\n${readFileSync(new URL('../../model.allow-list.yaml', import.meta.url), 'utf8')}`,
      },
    })
    plan = ((await planned.json()) as { plan: { plan_id: string } }).plan.plan_id
    await service.index.catchUp()
    browser = await world.open()
  }, 240_000)
  afterAll(async () => {
    await browser?.[Symbol.asyncDispose]()
    await world?.[Symbol.asyncDispose]()
  })

  let asks = 0
  async function ask(what: RequestedAccess): Promise<string> {
    const asker = {
      subject: 'user:anne',
      agent: 'research-bot',
      client: 'agent-app',
      delegation,
      txn: `t_${++asks}`,
    } as const
    const wish = { purpose: longTitle, bindingMessage: 'W3-K9', seconds: 600, front: 'rest' } as const
    return (await world.service.approvals.ask(asker, what, wish)).id
  }

  // Whatever is folded away, and the last way of each choice, is shown as well: runs in the page.
  const unfold = `(() => {
    for (const one of document.querySelectorAll('details')) one.open = true
    for (const one of document.querySelectorAll('input[type=radio]')) one.checked = true
  })()`

  test('no page of a person is wider', async () => {
    const { page } = browser
    const body = JSON.stringify({ title: longWord })
    const ids = [
      await ask({
        kind: 'documents',
        scopes: [],
        offer: 'o_1',
        documentIds: ['finance/minutes'],
        queryHmac: 'x',
      }),
      await ask({
        kind: 'vault_call',
        scopes: [],
        provider: 'github',
        call: {
          connection: 'c_1',
          method: 'POST',
          path: `/repos/acme/${longWord}/issues?labels=${longWord}`,
          contentType: 'application/json',
          bodyDigest: digestOfBody(Buffer.from(body)) ?? '',
        },
        body,
      }),
      await ask({
        kind: 'access',
        resource: `https://broker.example/${longWord}`,
        scopes: ['trade'],
        details: [{ type: 'trade_order', symbol: longWord }],
      }),
    ]
    const signIn = async () => {
      expect(await sideways(page)).toEqual([])
      await page.getByLabel('Account').fill('anne')
      await page.getByLabel('Password').fill(password)
      await page.getByRole('button', { name: 'Sign in', exact: true }).click()
    }
    await page.goto(`${world.url}/sign-in?next=/approvals`)
    await signIn()
    await page.waitForURL('**/approvals')
    const consent = new URLSearchParams({
      response_type: 'code',
      client_id: 'agent-app',
      redirect_uri: world.redirectUri,
      scope: 'docs.search docs.read',
      code_challenge: 'E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM',
      code_challenge_method: 'S256',
    })
    const own = ['/approvals', '/delegations', '/connections', '/passkeys', '/accounts', '/docs']
    for (const path of [
      ...own,
      ...ids.map((id) => `/approvals/${id}`),
      '/approvals/ap_none',
      '/oauth/device',
    ]) {
      await page.goto(`${world.url}${path}`)
      await page.evaluate(unfold)
      expect([path, await sideways(page)]).toEqual([path, []])
    }
    await page.goto(`${world.url}/oauth/auth?${consent}`)
    await signIn()
    await page.getByText(longTitle).first().waitFor()
    await page.evaluate(unfold)
    expect(await sideways(page)).toEqual([])
  }, 60_000)

  test('no page of the console is wider', async () => {
    const { page } = browser
    // Signed in by the test before, the console would not ask.
    await page.context().clearCookies()
    await browser.signIn('anne', '/console')
    const document = encodeURIComponent(longId)
    const asked = `user=user:anne&relation=can_read&object=document:${document}`
    for (const [path, shown] of [
      ['', 'main canvas'],
      ['/record', 'main tbody tr'],
      [`/record/${txn}`, 'main .step'],
      [`/readers?document=${document}`, 'main tbody tr'],
      ['/reads?subject=user:anne&agent=agent:research-bot', 'main tbody tr'],
      [`/explain?${asked}`, 'main code'],
      [`/who-can?relation=can_read&object=document:${document}`, 'main tbody tr'],
      ['/view-as?user=user:anne', 'main code'],
      [`/what-if?deletes=user:anne%20member%20group:${longWord}`, 'main textarea'],
      ['/model', 'main .editor'],
      [`/model/plans/${plan}`, 'main .diff'],
      ['/agents', 'main tbody tr'],
      ['/agents/research-bot', 'main tbody tr'],
      ['/delegations', 'main tbody tr'],
      [`/delegations/${delegation}`, 'main tbody tr'],
      ['/people', 'main form'],
      ['/people/user:anne', 'main code'],
      [`/people/group:${longWord}`, 'main code'],
    ] as const) {
      await page.goto(`${world.url}/console${path}`)
      await page.locator(shown).first().waitFor()
      await page.evaluate(unfold)
      expect([path, await sideways(page)]).toEqual([path, []])
    }
  }, 120_000)
})
