import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest'
import { operator } from '../../src/audit/record.ts'
import type { Requester } from '../../src/delegation/approvals/approval.ts'
import type { ApprovalOptions } from '../../src/delegation/approvals/request-approval.ts'
import type { RequestedAccess } from '../../src/delegation/approvals/requested-access.ts'
import type { Page } from '../delegation/issuer/browser.ts'
import { type IssuerWorld, openIssuerWorld } from '../delegation/issuer/world.ts'
import { askedCall } from '../support/approvals.ts'
import { type Authenticator, createAuthenticator } from '../support/authenticator.ts'
import { describeBackends } from '../support/backends.ts'
import { type OwnBrowser, openOwnBrowser } from './own-browser.ts'

interface Answer {
  readonly status: number
  readonly headers: Headers
  readonly code?: string
  readonly field?: string
  readonly detail?: string
  readonly approval?: Readonly<Record<string, unknown>> & { readonly digest: string; readonly state: string }
  readonly open?: readonly Readonly<Record<string, unknown>>[]
  readonly recent?: readonly Readonly<Record<string, unknown>>[]
  readonly grants?: readonly (Readonly<Record<string, unknown>> & { readonly id: string })[]
  readonly blocked?: readonly { readonly agent: string }[]
}

describeBackends('/approvals for the person', (backend) => {
  let world: IssuerWorld
  let anne: OwnBrowser
  let bob: OwnBrowser
  let device: Authenticator
  let moved = 0
  let asked = 0
  let delegation = ''
  const now = () => Date.now() + moved

  beforeAll(async () => {
    world = await openIssuerWorld({ backend, now })
    const board = { collection: 'finance', text: 'The budget.' }
    const access = { owner: 'user:bob', viewers: ['user:anne'], sensitive: true }
    await world.put({
      'board/1': { ...board, title: 'Minutes of May', access },
      'board/2': { ...board, title: 'Minutes <of> June', access },
      'board/3': { ...board, title: 'Minutes of July', access },
      'board/4': { ...board, title: 'Hidden minutes', access: { owner: 'user:bob', sensitive: true } },
    })
    device = createAuthenticator(world.url)
    await addPasskey(await openOwnBrowser(world, 'anne'), device)
  })
  afterAll(() => world?.[Symbol.asyncDispose]())
  beforeEach(async () => {
    moved += 3 * 3_600_000
    await world.service.approvals.blocks.lift('user:anne', 'research-bot', operator('t_anne'))
    delegation = await world.lend('anne', 'research-bot', 'collection:finance')
    anne = await openOwnBrowser(world, 'anne')
    bob = await openOwnBrowser(world, 'bob')
  })

  const optionsOf = ({ text }: Page) => {
    const found = /data-options="([^"]*)"/.exec(text)?.[1] ?? ''
    return JSON.parse(found.replaceAll('&quot;', '"')) as { challenge: string; user: { id: string } }
  }
  async function addPasskey(who: OwnBrowser, made: Authenticator): Promise<void> {
    const page = await who.browser.open(`${world.url}/passkeys`)
    const answer = JSON.stringify(made.make(optionsOf(page)))
    await who.browser.submit(page, '/passkeys', { answer, title: 'Phone' })
  }
  /** As if the person of every session had just been verified. */
  const verify = (person = 'anne') =>
    world.database.query('update browser_sessions set verified_at = $2 where person = $1', [
      person,
      new Date(now()),
    ])

  const asker = (agent = 'research-bot', lent = delegation): Requester => ({
    subject: 'user:anne',
    agent,
    client: 'agent-app',
    delegation: lent,
    txn: 't_tests',
  })
  const documents = (ids: readonly string[]): RequestedAccess => {
    asked += 1
    return {
      kind: 'documents',
      scopes: [],
      offer: `o_${asked}`,
      documentIds: ids,
      queryHmac: `hmac ${asked}`,
    }
  }
  async function ask(
    what: RequestedAccess = documents(['board/1', 'board/2', 'board/3']),
    more: Partial<ApprovalOptions> = {},
    who = asker(),
  ): Promise<string> {
    const wish = { purpose: 'The quarterly report', seconds: 600, front: 'rest' as const, ...more }
    return (await world.service.approvals.ask(who, what, wish)).id
  }
  const answered = async (response: Response): Promise<Answer> => ({
    status: response.status,
    headers: response.headers,
    ...((await response.json()) as object),
  })
  const look = async (id: string, who = anne) => answered(await who.send('GET', `/approvals/${id}`))
  const list = async (who = anne) => answered(await who.send('GET', '/approvals'))
  const digestOf = async (id: string) => (await look(id)).approval?.digest ?? ''
  const decide = async (id: string, body: object, who = anne, headers = {}) =>
    answered(await who.send('POST', `/approvals/${id}/decision`, { body, headers }))
  const stateOf = async (id: string) => (await world.service.approvals.of(asker(), id))?.state
  const page = (id: string, who = anne) => who.browser.open(`${world.url}/approvals/${id}`)
  const submit = (from: Page, fields: Readonly<Record<string, string | readonly string[]>>, who = anne) =>
    who.browser.submit(from, '/decision', fields)

  test('says of each question on the list what is asked and why, in the agent’s words that run nothing', async () => {
    const id = await ask(undefined, { purpose: 'For <b>June</b>', bindingMessage: 'W3-K9' })
    const { text } = await anne.browser.open(`${world.url}/approvals`)
    const words = '<q><bdi>W3-K9</bdi></q> <q><bdi>For &lt;b&gt;June&lt;/b&gt;</bdi></q>'
    expect(text).toMatch(new RegExp(`href="/approvals/${id}">research-bot wants to read documents for you`))
    expect(text).toContain(`${words} <span class="tag">its own words, not checked by us</span>`)
    await decide(id, { decision: 'deny', digest: await digestOf(id) })
    const after = await anne.browser.open(`${world.url}/approvals`)
    expect(after.text).toContain(`wanted to read documents for you</a></p>\n<p>${words}`)
    expect((await bob.browser.open(`${world.url}/approvals`)).text).not.toContain('W3-K9')
  })

  test('lists what waits, shows one in our words, and takes a yes to some of it for one use', async () => {
    const id = await ask()
    expect((await list()).open).toEqual([
      expect.objectContaining({ id, state: 'pending', kind: 'documents', agent_title: 'research-bot' }),
    ])
    const { approval, headers } = await look(id)
    expect(headers.get('x-csrf-token')).toBe(anne.csrf)
    expect(headers.get('cache-control')).toBe('private, no-store')
    expect(approval).toMatchObject({
      agent: 'research-bot',
      client_title: 'Research desktop',
      purpose: 'The quarterly report',
      lent_for: 'tests',
      documents: [
        { id: 'board/1', title: 'Minutes of May', owner: 'user:bob', collection: 'finance', sensitive: true },
        { id: 'board/2', title: 'Minutes <of> June' },
        { id: 'board/3' },
      ],
      places: [{ object: 'collection:finance' }],
    })
    await verify()
    const yes = { decision: 'approve', digest: approval?.digest, documents: ['board/1', 'board/3'] }
    expect(await decide(id, yes)).toMatchObject({ status: 200, approval: { state: 'approved' } })
    const { grants } = await list()
    expect(grants).toMatchObject([
      {
        approval: id,
        objects: [
          { object: 'document:board/1', title: 'Minutes of May' },
          { object: 'document:board/3', title: 'Minutes of July' },
        ],
        uses_left: 1,
        remembered: false,
      },
    ])
    // Twice is once.
    expect(await decide(id, yes)).toMatchObject({ status: 409, code: 'conflict' })
    const grant = grants?.[0]?.id
    expect((await bob.send('DELETE', `/approvals/grants/${grant}`)).status).toBe(404)
    expect((await anne.send('DELETE', `/approvals/grants/${grant}`)).status).toBe(200)
    expect((await anne.send('DELETE', `/approvals/grants/${grant}`)).status).toBe(404)
    expect((await list()).grants).toEqual([])
    const [record] = await world.database.query<{ subject: string }>(
      `select subject from decision_records where event = 'grant_ended' and detail ->> 'grant' = $1`,
      [grant ?? ''],
    )
    expect(record?.subject).toBe('user:anne')
  })

  test('is remembered, and a no blocks an agent until it is let ask again', async () => {
    const first = await ask()
    await verify()
    const until = new Date(now() + 1_800_000).toISOString()
    const remember = { object: 'collection:finance', until }
    expect(
      await decide(first, { decision: 'approve', digest: await digestOf(first), remember }),
    ).toMatchObject({
      status: 200,
    })
    expect((await list()).grants).toMatchObject([
      { remembered: true, objects: [{ object: 'collection:finance', title: 'The finance' }] },
    ])
    const second = await ask()
    const no = { decision: 'deny', digest: await digestOf(second), reason: 'Not now.', block: true }
    expect(await decide(second, no)).toMatchObject({
      status: 200,
      approval: { state: 'denied', reason: 'Not now.' },
    })
    expect((await list()).blocked).toMatchObject([{ agent: 'research-bot' }])
    // Whoever is blocked is told no, and the person hears nothing of it.
    moved += 11 * 60_000
    const third = await ask()
    expect(await stateOf(third)).toBe('denied')
    expect((await look(third)).status).toBe(404)
    expect((await bob.send('DELETE', '/approvals/blocks/research-bot')).status).toBe(404)
    expect((await anne.send('DELETE', '/approvals/blocks/research-bot')).status).toBe(200)
    expect((await anne.send('DELETE', '/approvals/blocks/research-bot')).status).toBe(404)
    expect((await list()).blocked).toEqual([])
  })

  test('somebody else’s is the 404 of one that does not exist, as JSON and as a page that says who is signed in', async () => {
    const id = await ask()
    const digest = await digestOf(id)
    await verify('bob')
    for (const [method, path, body] of [
      ['GET', '', undefined],
      ['POST', '/decision', { decision: 'approve', digest }],
      ['POST', '/decision', { decision: 'deny', digest }],
    ] as const) {
      const theirs = await answered(await bob.send(method, `/approvals/${id}${path}`, { body }))
      const missing = await answered(
        await bob.send(method, `/approvals/ap_${'x'.repeat(22)}${path}`, { body }),
      )
      expect({ ...theirs, txn: '', headers: '' }).toEqual({ ...missing, txn: '', headers: '' })
      expect(theirs.status).toBe(404)
    }
    const theirs = await page(id, bob)
    const missing = await page(`ap_${'x'.repeat(22)}`, bob)
    expect([theirs.status, theirs.text]).toEqual([404, missing.text])
    expect(theirs.text).toContain('You are signed in as <strong>bob</strong>')
    expect(theirs.text).not.toMatch(/Minutes|research-bot/)
    expect((await list(bob)).open).toEqual([])
    expect(await stateOf(id)).toBe('pending')
  })

  test('no token decides, the person’s own included, nor a session that is not on our page', async () => {
    const id = await ask()
    const digest = await digestOf(id)
    await verify()
    const no = { decision: 'deny', digest }
    const tokens = [
      await world.token({ user: 'anne', agent: 'research-bot' }),
      await world.token({ user: 'anne' }),
      'nonsense',
    ]
    for (const token of tokens) {
      const authorization = `Bearer ${token}`
      expect((await decide(id, no, anne, { authorization })).status).toBe(403)
      expect((await anne.send('GET', '/approvals', { headers: { authorization } })).status).toBe(403)
      const headers = { authorization }
      expect((await anne.send('DELETE', '/approvals/blocks/research-bot', { headers })).status).toBe(403)
      expect((await anne.send('DELETE', '/approvals/grants/g_1', { headers })).status).toBe(403)
    }
    for (const headers of [
      { origin: undefined },
      { origin: 'https://evil.test' },
      { origin: 'null' },
      { 'x-csrf-token': undefined },
      { 'x-csrf-token': bob.csrf },
    ])
      expect((await decide(id, no, anne, headers)).status).toBe(403)
    expect((await decide(id, no, anne, { cookie: undefined })).status).toBe(401)
    expect(await stateOf(id)).toBe('pending')
    // With a token the address is the agent's side, and tells what that tells.
    const theirs = await anne.send('GET', `/approvals/${id}`, {
      headers: { authorization: `Bearer ${tokens[1]}` },
    })
    expect(theirs.status).toBe(403)
  })

  test('a yes takes somebody who was verified in the last 5 minutes, and it and a question a sign-in of the last 15; a no takes neither', async () => {
    const id = await ask()
    const yes = { decision: 'approve', digest: await digestOf(id) }
    expect(await decide(id, yes)).toMatchObject({ status: 401, code: 'insufficient_user_authentication' })
    await verify()
    moved += 5 * 60_000 + 1_000
    expect(await decide(id, yes)).toMatchObject({ status: 401 })
    moved += 10 * 60_000
    const later = await ask()
    await verify()
    const digest = await digestOf(later)
    for (const answer of [{ decision: 'approve' }, { decision: 'ask', question: 'Why?' }])
      expect(await decide(later, { ...answer, digest })).toMatchObject({
        status: 401,
        code: 'insufficient_user_authentication',
      })
    const stale = await page(later)
    expect(stale.text).toContain(`/sign-in?next=${encodeURIComponent(`/approvals/${later}`)}`)
    expect([...stale.text.matchAll(/name="decision" value="(\w+)"/g)].map(([, one]) => one)).toEqual([
      'deny',
      'deny',
    ])
    expect(await stateOf(later)).toBe('pending')
    expect(await decide(later, { decision: 'deny', digest })).toMatchObject({ status: 200 })
    expect(await stateOf(later)).toBe('denied')
  })

  test('what has changed since it was looked at is not decided, and the page shows it anew', async () => {
    const id = await ask()
    await verify()
    const digest = await digestOf(id)
    const before = await page(id)
    await world.write('user:anne blocked document:board/2')
    const yes = { decision: 'approve', digest }
    expect(await decide(id, yes)).toMatchObject({ status: 409, code: 'conflict' })
    const anew = await submit(before, {
      decision: 'approve',
      document: ['board/1', 'board/2'],
      seconds: '900',
    })
    expect(anew.status).toBe(409)
    expect(anew.text).toContain('has changed since you looked')
    expect(anew.text).not.toContain('board/2')
    // What was left out stays so.
    expect(anew.text).toMatch(/value="board\/1" form="yes" checked/)
    expect(anew.text).not.toMatch(/value="board\/3" form="yes" checked/)
    expect(await stateOf(id)).toBe('pending')
    await world.remove('user:anne blocked document:board/2')
    const done = await submit(await page(id), { document: ['board/1'], seconds: '900' })
    expect(done.url.search).toBe('?done=approved')
    // The same form once more.
    expect((await submit(before, { document: ['board/1'], seconds: '900' })).status).toBe(409)
  })

  test.each([
    ['a document that is not shown', { documents: ['board/1', 'board/4'] }, 'documents'],
    ['no document at all', { documents: [] }, 'documents'],
    ['an end that is past', { until: '2020-01-01T00:00:00Z' }, 'until'],
    ['an end that is too far off', { until: '2120-01-01T00:00:00Z' }, 'until'],
    [
      'a place that is not shown',
      { remember: { object: 'collection:handbook', until: '2120-01-01T00:00:00Z' } },
      'remember',
    ],
    ['something that nobody knows', { everything: true }, 'everything'],
  ])('a yes to %s is a 422 that names it, and decides nothing', async (_, more, field) => {
    const id = await ask()
    await verify()
    const digest = await digestOf(id)
    expect(await decide(id, { decision: 'approve', digest, ...more })).toMatchObject({ status: 422, field })
    expect(await stateOf(id)).toBe('pending')
  })

  test('a form with nothing ticked is a yes to nothing, not to everything', async () => {
    const id = await ask()
    await verify()
    const none = await submit(await page(id), { decision: 'approve', seconds: '900' })
    expect(none.status).toBe(422)
    expect(none.text).toContain('Tick at least one of the documents')
    const forged = await submit(await page(id), { document: ['board/1', 'board/4'], seconds: '900' })
    expect(forged.status).toBe(422)
    const place = { extent: 'remember', place: 'collection:handbook', remember_seconds: '3600' }
    expect((await submit(await page(id), { document: ['board/1'], ...place })).status).toBe(422)
    for (const seconds of ['0', '-1', '99999999', 'x', ''])
      expect((await submit(await page(id), { document: ['board/1'], seconds })).status).toBe(422)
    expect(await stateOf(id)).toBe('pending')
  })

  test('a passkey on the page itself says who sits there, for this question as it is shown', async () => {
    const id = await ask()
    const shown = await page(id)
    expect(shown.text).toContain('Approve with your passkey')
    const answer = () => JSON.stringify(device.answer(optionsOf(shown)))
    const fields = { document: ['board/1'], seconds: '900' }
    // Without it, or with another page's.
    expect((await submit(shown, fields)).status).toBe(401)
    const other = await page(await ask())
    expect((await submit(other, { ...fields, answer: answer() })).status).toBe(401)
    expect(await stateOf(id)).toBe('pending')
    expect((await submit(shown, { ...fields, answer: answer() })).url.search).toBe('?done=approved')
    // For five minutes it takes no other one.
    const third = await page(await ask())
    expect(third.text).not.toContain('data-passkey')
    const [event] = await world.database.query<{ event: string }>(
      `select event from decision_records where event = 'user_verified' order by record_no desc limit 1`,
    )
    expect(event).toBeDefined()
  })

  test('the page of passkeys leads back to what waits for this person, and for nobody else', async () => {
    const wayBack = async (who: OwnBrowser) =>
      /href="([^"]*)">Back to the question/.exec((await who.browser.open(`${world.url}/passkeys`)).text)?.[1]
    expect(await wayBack(anne)).toBeUndefined()
    const id = await ask()
    expect(await wayBack(anne)).toBe(`/approvals/${id}`)
    expect(await wayBack(bob)).toBeUndefined()
    await ask()
    expect(await wayBack(anne)).toBe('/approvals')
  })

  test('a passkey of somebody else verifies nobody here', async () => {
    const bobs = createAuthenticator(world.url)
    await addPasskey(bob, bobs)
    const id = await ask()
    const shown = await page(id)
    const answer = JSON.stringify(bobs.answer(optionsOf(shown)))
    const refused = await submit(shown, { document: ['board/1'], seconds: '900', answer })
    expect(refused.status).toBe(401)
    expect(refused.text).toContain('somebody else’s')
    expect(await stateOf(id)).toBe('pending')
    await world.database.query(`delete from passkeys where person = 'bob'`)
  })

  test('the page says it in our words, and the agent’s are marked, escaped and kept apart', async () => {
    const words = `<script>alert(1)</script> "Approve" & שלום ${'x'.repeat(300)}`
    const id = await ask(documents(['board/1', 'board/2']), {
      purpose: words,
      bindingMessage: '<b>W3-K9</b>',
    })
    const { text, headers } = await page(id)
    expect(text).toContain('research-bot wants to read 2 documents for you')
    expect(text).toContain('Minutes &lt;of&gt; June')
    expect(text).toContain('&lt;script&gt;alert(1)&lt;/script&gt;')
    expect(text).toContain('&lt;b&gt;W3-K9&lt;/b&gt;')
    expect(text).not.toMatch(/<script>|<b>/)
    expect(text).toContain('not checked by us')
    expect(headers.get('content-security-policy')).toContain(`script-src 'self'`)
    expect(headers.get('content-security-policy')).toContain(`frame-ancestors 'none'`)
    // What turns the direction around, hides or controls is not taken in the first place.
    for (const bad of ['\u202Eevil', 'zero\u200Bwidth', 'two\nlines'])
      await expect(ask(documents(['board/1']), { purpose: bad })).rejects.toMatchObject({ field: 'purpose' })
    // Fatigue has limits, and the page says so.
    expect(text).toContain('5 questions before you at a time and ask 20 in an hour')
  })

  test('asks back, shows the answer as the agent’s own words, and five times is enough', async () => {
    const id = await ask()
    const asking = await submit(await page(id), { decision: 'ask', question: 'Why <all>?' })
    expect(asking.url.search).toBe('?done=asked')
    expect(asking.text).toContain('Its answer will be here.')
    const digest = await digestOf(id)
    const more = { decision: 'ask', digest, question: 'And?' }
    expect(await decide(id, more)).toMatchObject({ status: 409 })
    await world.service.approvals.answer(asker(), id, 'For <b>you</b>.')
    const shown = await page(id)
    expect(shown.text).toContain('Why &lt;all&gt;?')
    expect(shown.text).toContain('For &lt;b&gt;you&lt;/b&gt;.')
    expect(shown.text).toContain('4 questions are left')
    for (let round = 2; round <= 5; round += 1) {
      expect(await decide(id, { ...more, digest: await digestOf(id) })).toMatchObject({ status: 200 })
      await world.service.approvals.answer(asker(), id, 'So.')
    }
    expect((await page(id)).text).not.toContain('name="question"')
    expect(await decide(id, { ...more, digest: await digestOf(id) })).toMatchObject({ status: 409 })
    for (const question of ['', 'a\u202Eb', 'x'.repeat(501)])
      expect(await decide(id, { ...more, digest: await digestOf(id), question })).toMatchObject({
        status: 422,
        field: 'question',
      })
  })

  test('a call to a third party and a token for an API are shown to the letter', async () => {
    const call = {
      connection: 'c_none',
      method: 'POST',
      path: '/repos/acme/site/issues?labels=a%20b',
      contentType: 'application/json',
      bodyDigest: 'd'.repeat(43),
    }
    const vault = (await page(await ask({ kind: 'vault_call', scopes: [], provider: 'acme', call }))).text
    expect(vault).toContain('wants to send or create something at acme for you')
    expect(vault).toContain('/repos/acme/site/issues')
    expect(vault).toContain('a b')
    expect(vault).toContain(call.bodyDigest)
    expect(vault).toContain('changes things there')
    expect(vault).toContain('not shown')
    const text = '{"title":"<b>Hello</b>",\n"to":"\u202Eeve"}'
    const told = await ask(askedCall({ ...call, path: '/repos/acme/site/issues' }, text))
    expect((await page(told)).text).toContain(
      '<pre tabindex="0">{&quot;title&quot;:&quot;&lt;b&gt;Hello&lt;/b&gt;&quot;,\n&quot;to&quot;:&quot;⟨U+202E⟩eve&quot;}</pre>',
    )
    const detail = {
      type: 'trade_order',
      side: 'buy',
      symbol: 'ACME',
      quantity: 10,
      venues: ['XFRA', { name: 'X\u202EETR', fees: [1, null] }],
      [`lim\u200bit`]: { amount: '12.50', notes: [] },
    }
    const id = await ask({
      kind: 'access',
      resource: 'https://broker.test/api',
      scopes: ['trade'],
      details: [detail],
      collections: ['handbook.checked-by-IT'],
    })
    const access = await page(id)
    // Any id, whether there is such a collection or not: the program's word, not ours.
    expect(access.text).toContain(
      '<code>handbook.checked-by-IT</code> <span class="tag">not checked by us</span>',
    )
    expect(access.text).toContain('wants to act for you at broker.test')
    expect(access.text).toContain('trade_order')
    expect(access.text).toContain('<dt>symbol</dt><dd><code>ACME</code></dd>')
    expect(access.text).toContain(
      '<dd><ul class="plain"><li><code>XFRA</code></li><li><dl>' +
        '<dt>fees</dt><dd><ul class="plain"><li><code>1</code></li><li><code>null</code></li></ul></dd>' +
        '<dt>name</dt><dd><code>X⟨U+202E⟩ETR</code></dd></dl></li></ul></dd>',
    )
    expect(access.text).toContain(
      '<dt>lim⟨U+200B⟩it</dt><dd><dl><dt>notes</dt><dd><code>[]</code></dd><dt>amount</dt><dd><code>12.50</code></dd></dl></dd>',
    )
    // What is done in their name elsewhere takes them there, unless the API says that it need not.
    expect(access.text).toContain('data-passkey')
    expect((await submit(access, { answer: '' })).status).toBe(401)
    await world.service.issuer.resources.save({
      resource: 'https://broker.test/api',
      scopes: ['trade'],
      takesVerification: false,
    })
    const free = await page(id)
    expect(free.text).not.toContain('data-passkey')
    expect((await submit(free, {})).url.search).toBe('?done=approved')
    await world.service.issuer.resources.remove('https://broker.test/api')
    expect(await stateOf(id)).toBe('approved')
  })

  test('a link from elsewhere, and a browser where nobody is signed in, lead to the question by the sign-in', async () => {
    const id = await ask()
    const stranger = world.browser()
    const led = await stranger.open(`${world.url}/approvals/${id}`)
    expect(led.url.pathname + led.url.search).toBe(`/sign-in?next=${encodeURIComponent(`/approvals/${id}`)}`)
    const done = await stranger.submit(led, led.url.pathname + led.url.search, {
      user: 'anne',
      password: 'correct horse battery',
    })
    expect(done.url.pathname).toBe(`/approvals/${id}`)
    const fromElsewhere = await fetch(`${world.url}/approvals/${id}`, {
      headers: { accept: 'text/html', 'sec-fetch-site': 'cross-site' },
    })
    expect(await fromElsewhere.text()).toContain(`content="0;url=/approvals/${id}"`)
  })

  test('the list page shows what waits, what counts and who is blocked, and takes each back', async () => {
    const id = await ask()
    await verify()
    const listed = await anne.browser.open(`${world.url}/approvals`)
    expect(listed.text).toContain(`href="/approvals/${id}"`)
    const fields = { extent: 'remember', place: 'collection:finance', remember_seconds: '1800' }
    expect((await page(id)).text).toContain('Documents that are added there later are included')
    const done = await submit(await page(id), { document: ['board/1', 'board/2', 'board/3'], ...fields })
    expect(done.text).toContain('Approved. The agent can go on.')
    expect(done.text).toContain('Documents that are added there later are included')
    const back = await anne.browser.submit(done, '/revoke')
    expect(back.text).toContain('Taken back.')
    expect((await list()).grants).toEqual([])
    const blocked = await submitNo(await page(await ask()), { block: 'yes' })
    expect(blocked.text).toContain('Refused and blocked.')
    const lifted = await anne.browser.submit(blocked, '/blocks/lift')
    expect(lifted.text).toContain('The agent may ask you again.')
    expect((await list()).blocked).toEqual([])
  })

  /** The page's second form. */
  const submitNo = (from: Page, fields: Readonly<Record<string, string>>) =>
    submit(from, { decision: 'deny', ...fields })
})
