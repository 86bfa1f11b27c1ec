import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type IssuerWorld, openIssuerWorld } from '../delegation/issuer/world.ts'
import { type OwnBrowser, openOwnBrowser } from './own-browser.ts'

describe('the page of what one has lent', () => {
  let world: IssuerWorld
  let anne: OwnBrowser
  beforeAll(async () => {
    world = await openIssuerWorld()
    await world.put({ 'handbook/travel': { title: '<b>Travel</b>', access: { viewers: ['user:anne'] } } })
    anne = await openOwnBrowser(world, 'anne')
  })
  afterAll(() => world?.[Symbol.asyncDispose]())

  const open = () => anne.browser.open(`${world.url}/delegations`)
  const filled = {
    agent: 'research-bot',
    object: 'collection:handbook',
    more: 'document:handbook/travel',
    sub_agent: 'other-bot',
    purpose: '<script>alert(1)</script>',
    seconds: '3600',
  }

  test('lends by its form, once however often that is sent, and shows who has what until when', async () => {
    const page = await open()
    expect(page.text).toContain('No agent can read anything for you now.')
    await anne.browser.submit(page, '/delegations/lend', filled)
    const shown = await anne.browser.submit(page, '/delegations/lend', filled)
    expect(shown.url.pathname).toBe('/delegations')
    expect(await world.service.delegations.listOf('user:anne')).toHaveLength(1)
    for (const words of [
      'research-bot',
      'The handbook',
      '&lt;b&gt;Travel&lt;/b&gt;',
      'other-bot',
      '&lt;script&gt;alert(1)&lt;/script&gt;',
      'UTC',
      'any program of this agent',
    ])
      expect(shown.text).toContain(words)
  })

  test('says once that it lent, and says nothing that is in the address only', async () => {
    const told = await anne.browser.open(`${world.url}/delegations?done=lent`)
    expect(told.text).toContain('<p class="done" role="status">Lent.')
    expect((await anne.browser.open(`${world.url}/delegations?done=toString`)).text).not.toContain(
      'class="done"',
    )
  })

  test('says where an agent is limited, in the form and on the card, by titles of what one may read', async () => {
    await world.service.agents.save({
      id: 'other-bot',
      owner: 'user:dan',
      purpose: 'tests',
      issuer: world.service.ownIssuer,
      sub: 'other-bot',
      limits: { scopes: undefined, collections: ['handbook', 'secrets'] },
    })
    const id = await world.lend('anne', 'other-bot', 'collection:handbook')
    const { text } = await open()
    expect(text).toContain('<code>other-bot</code> is limited to: The handbook.')
    expect(text).toContain('<dt>But only in</dt><dd>The handbook<br>')
    expect(text).not.toContain('secrets')
    await world.service.delegations.revoke(id)
  })

  test.each([
    ['support/playbooks', 'Write folder:support/playbooks for a folder, or document:support/playbooks'],
    ['', 'Choose what to lend.'],
  ])('says how single things are named: %s', async (more, said) => {
    const { agent, purpose, seconds } = filled
    const again = await anne.browser.submit(await open(), '/delegations/lend', {
      agent,
      purpose,
      seconds,
      more,
    })
    expect(again.status).toBe(422)
    expect(again.text).toContain(said)
  })

  test('90 days are for what is standing, and whoever chooses them without is told', async () => {
    const again = await anne.browser.submit(await open(), '/delegations/lend', {
      ...filled,
      seconds: '7776000',
    })
    expect(again.text).toContain('Only what is standing may last longer: 90 days.')
  })

  test('takes back by its button, and a second press is no error', async () => {
    const page = await open()
    const action = /action="(\/delegations\/[^"]+\/revoke)"/.exec(page.text)?.[1] ?? 'none'
    expect((await anne.browser.submit(page, action)).text).toContain(
      'No agent can read anything for you now.',
    )
    expect((await anne.browser.submit(page, action)).text).toContain('Taken back.')
    expect((await anne.browser.submit(page, action)).status).toBe(200)
    expect(await world.service.delegations.listOf('user:anne')).toMatchObject([
      { state: 'revoked' },
      { state: 'revoked' },
    ])
  })

  test('shows what is wrong and keeps what was filled in', async () => {
    const again = await anne.browser.submit(await open(), '/delegations/lend', {
      ...filled,
      more: 'document:none',
    })
    expect(again.status).toBe(422)
    expect(again.text).toContain('There is no document:none that you could lend.')
    expect(again.text).toMatch(/value="collection:handbook" checked/)
  })

  test('lends nothing to agents that are others than it showed, and shows them anew', async () => {
    const { agents, delegations } = world.service
    const { more: _, ...wish } = filled
    for (const id of ['research-bot', 'other-bot']) {
      const page = await open()
      const agent = await agents.get(id)
      if (agent === undefined) throw new Error('It is registered.')
      await agents.save({ ...agent, jwks: agent.jwks ?? null, purpose: 'Something else.' })
      const again = await anne.browser.submit(page, '/delegations/lend', wish)
      expect([id, again.status, again.text.includes('has changed since you looked')]).toEqual([id, 409, true])
      expect(again.text).toMatch(/value="collection:handbook" checked/)
      const live = (await delegations.listOf('user:anne')).filter(({ state }) => state !== 'revoked')
      expect([id, live]).toEqual([id, []])
      // Of what is shown now it lends, whoever else has changed.
      const lent = await anne.browser.submit(again, '/delegations/lend', wish)
      expect([id, lent.url.search]).toEqual([id, '?done=lent'])
      for (const { id: one } of await delegations.listOf('user:anne')) await delegations.revoke(one)
    }
  })

  test('runs no script, loads nothing, is framed by nobody, and sends its forms to us only', async () => {
    const { headers, text } = await open()
    const policy = headers.get('content-security-policy') ?? ''
    for (const part of [
      "default-src 'none'",
      "script-src 'none'",
      "frame-ancestors 'none'",
      "form-action 'self';",
      "base-uri 'none'",
    ])
      expect(`${policy};`).toContain(part)
    expect(text).not.toMatch(/<script|<img|<link|src=|style="/)
    expect(headers.get('cache-control')).toContain('no-store')
  })

  test('leads to the sign-in who has none', async () => {
    const { url } = await world.browser().open(`${world.url}/delegations`)
    expect(url.pathname + url.search).toBe('/sign-in?next=%2Fdelegations')
  })
})
