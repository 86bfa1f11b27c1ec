import { gzipSync } from 'node:zlib'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { describeDatabases } from '../support/backends.ts'
import { openVaultWorld, type VaultWorld } from './vault-world.ts'

describeDatabases('POST /vault/fetch', (kind) => {
  let vault: VaultWorld
  beforeAll(async () => {
    vault = await openVaultWorld(kind)
  })
  afterAll(() => vault?.[Symbol.asyncDispose]())
  beforeEach(() => vault.anew())

  const issue = {
    method: 'POST',
    path: '/issues?draft=1',
    headers: { 'content-type': 'application/json' },
    body: '{"title":"Hello"}',
  }
  /** What reached the provider's API during this. */
  async function sentDuring(work: () => Promise<unknown>) {
    const before = vault.double.apiRequests.length
    await work()
    return vault.double.apiRequests.slice(before)
  }

  describe('what was agreed to', () => {
    test('is asked with the person’s token and nothing of the agent’s request, and answered without it', async () => {
      const { accessToken } = await vault.link()
      vault.double.api = () => ({
        status: 404,
        headers: { etag: '"1"', 'x-ratelimit-remaining': '9', 'set-cookie': 'a=b', 'x-powered-by': 'acme' },
        body: '{"message":"no such issue"}',
      })
      const call = { method: 'GET', path: '/issues/1?q=a%20b', headers: { Accept: 'application/json' } }
      const noise = {
        cookie: 'session=1',
        traceparent: '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01',
        'x-forwarded-for': '10.0.0.1',
        'x-api-key': 'a key',
        forwarded: 'for=10.0.0.1',
      }
      const answer = await vault.fetch(call, { headers: noise })
      expect(answer.body).toEqual({
        status: 404,
        headers: { 'content-type': 'application/json', etag: '"1"', 'x-ratelimit-remaining': '9' },
        body: '{"message":"no such issue"}',
        encoding: 'text',
        txn: expect.any(String),
      })
      expect(answer.status).toBe(200)
      expect(vault.double.apiRequests.at(-1)).toEqual({
        method: 'GET',
        path: '/issues/1?q=a%20b',
        headers: {
          host: vault.double.origin.slice('http://'.length),
          connection: 'keep-alive',
          'user-agent': 'remit',
          accept: 'application/json',
          'accept-encoding': 'identity',
          authorization: `Bearer ${accessToken}`,
        },
        body: '',
      })
    })

    test('is on record before the answer leaves, without what stood in the query', async () => {
      const { id } = await vault.link()
      const { body } = await vault.fetch({ method: 'GET', path: '/issues/7?q=somebody' })
      expect((await vault.recorded()).at(-1)).toEqual({
        event: 'vault_called',
        txn: body['txn'],
        detail: {
          connection: id,
          provider: 'acme',
          method: 'GET',
          path: '/issues/7',
          call_digest: expect.stringMatching(/^[\w-]{43}$/),
          grant: null,
          request_bytes: 0,
          outcome: 'answered',
          status: 200,
          answer_bytes: 11,
        },
      })
    })

    test('may be a writing rule: then it is on record before it is sent as well', async () => {
      await vault.link({ rules: [{ title: 'Write issues', methods: ['POST'], paths: ['/issues?draft'] }] })
      let begun: unknown[] = []
      const before = (await vault.recorded()).length
      vault.double.api = () => {
        // Asked while the call is under way: the record is there although no answer is.
        begun = [vault.recorded()]
        return { status: 201 }
      }
      expect((await vault.fetch(issue)).body).toMatchObject({ status: 201 })
      const [seen] = (await Promise.all(begun)) as Awaited<ReturnType<VaultWorld['recorded']>>[]
      expect(seen?.slice(before).map(({ event }) => event)[0]).toBe('vault_call_begun')
      expect((await vault.recorded()).slice(before).map(({ event }) => event)).toEqual([
        'vault_call_begun',
        'vault_called',
      ])
    })

    test('is given on whatever it is: text, bytes, packed, or not what it says', async () => {
      await vault.link()
      const get = async () => (await vault.fetch({ method: 'GET', path: '/issues/1' })).body
      vault.double.api = () => ({
        headers: { 'content-type': 'image/png' },
        body: Buffer.from([0x89, 0x50, 0]),
      })
      expect(await get()).toMatchObject({ body: 'iVAA', encoding: 'base64' })
      vault.double.api = () => ({ headers: { 'content-encoding': 'gzip' }, body: gzipSync('{"packed":1}') })
      expect(await get()).toMatchObject({ body: '{"packed":1}', encoding: 'text' })
      vault.double.api = () => ({ body: Buffer.from([0xff, 0xfe, 0x41]) })
      expect(await get()).toMatchObject({ body: '//5B', encoding: 'base64' })
      vault.double.api = () => ({ status: 304, headers: { etag: '"1"' } })
      expect(await get()).toMatchObject({ status: 304, body: '', encoding: 'text' })
    })

    test('is not followed where it leads elsewhere, and says where only within the API', async () => {
      await vault.link()
      for (const [location, told] of [
        ['/issues/2?q=a', '/issues/2?q=a'],
        [`${vault.double.origin}/issues/3`, '/issues/3'],
        ['https://evil.example/', undefined],
        ['//evil.example/', undefined],
        ['http://169.254.169.254/latest', undefined],
        ['javascript:alert(1)', undefined],
        [vault.double.origin.replace('http://', 'http://me@'), undefined],
        // Whoever has it goes on there without a token.
        ['/upload/drive/v3/files?uploadType=resumable&upload_id=A1', undefined],
        ['/issues/4?X-Amz-Signature=a1', undefined],
      ] as const) {
        vault.double.api = () => ({ status: 302, headers: { location } })
        const sent = await sentDuring(async () => {
          const { body } = await vault.fetch({ method: 'GET', path: '/issues/1' })
          expect([body['status'], (body['headers'] as Record<string, string>)['location']], location).toEqual(
            [302, told],
          )
        })
        expect(sent).toHaveLength(1)
      }
    })
  })

  describe('is refused', () => {
    test('to whoever is not an agent with the scope for it', async () => {
      await vault.link()
      const call = { method: 'GET', path: '/issues/1' }
      const person = await vault.world.token({ user: 'anne' })
      const service = await vault.world.token({ service: 'loader' })
      const other = await vault.world.token({ user: 'anne', agent: 'research-bot', scopes: ['docs.search'] })
      const sent = await sentDuring(async () => {
        expect((await vault.fetch(call, { as: person })).body).toMatchObject({
          status: 403,
          code: 'forbidden',
        })
        expect((await vault.fetch(call, { as: service })).body).toMatchObject({
          status: 403,
          code: 'forbidden',
        })
        expect((await vault.fetch(call, { as: other })).body).toMatchObject({ code: 'insufficient_scope' })
        expect((await vault.fetch(call, { as: 'none' })).body).toMatchObject({ code: 'invalid_token' })
      })
      expect(sent).toEqual([])
    })

    test('in one way where nothing is linked and where it is linked for another agent; unknown providers are a 404', async () => {
      await vault.world.lend('anne', 'other-bot', 'collection:handbook')
      await vault.world.lend('bob', 'other-bot', 'collection:handbook')
      await vault.link({ user: 'anne', agent: 'research-bot' })
      const get = (as: string, call: object = {}) =>
        vault.fetch({ method: 'GET', path: '/issues/1', ...call }, { as })
      const alike = ({ body }: Awaited<ReturnType<typeof get>>) => ({ ...body, txn: '', connect_url: '' })
      const forAnother = await get(await vault.world.token({ user: 'anne', agent: 'other-bot' }))
      const notAtAll = await get(await vault.world.token({ user: 'bob', agent: 'other-bot' }))
      expect(alike(forAnother)).toEqual(alike(notAtAll))
      expect(forAnother.body).toMatchObject({
        status: 409,
        code: 'connection_required',
        connect_url: expect.stringMatching(/^http:\/\/localhost:8787\/connections\/requests\/cr_[\w-]+$/),
      })
      expect(forAnother.text.length).toBe(notAtAll.text.length)
      expect((await get(vault.token, { connection: 'elsewhere' })).body).toMatchObject({ code: 'not_found' })
    })

    test('where the connection is broken, or breaks now', async () => {
      await vault.link({ state: 'needs_reconnect' })
      const get = () => vault.fetch({ method: 'GET', path: '/issues/1' })
      const page = {
        code: 'reconnect_required',
        connect_url: expect.stringContaining('/connections/requests/'),
      }
      expect((await get()).body).toMatchObject(page)
      await vault.anew()
      await vault.link({ endsIn: -10 })
      vault.double.mood = 'refuses'
      expect((await get()).body).toMatchObject(page)
    })

    test.each([
      [{ path: '//evil.example/' }, 'path'],
      [{ path: 'https://evil.example/' }, 'path'],
      [{ path: '/issues/../admin' }, 'path'],
      [{ path: '/issues/%2e%2e/admin' }, 'path'],
      [{ path: '/issues/1?$httpMethod=DELETE' }, 'path'],
      [{ path: '/issues/1?access_token=mine' }, 'path'],
      [{ headers: { authorization: 'Bearer mine' } }, 'headers.authorization'],
      [{ headers: { Host: 'evil.example' } }, 'headers.Host'],
      [{ headers: { cookie: 'a=b' } }, 'headers.cookie'],
      [{ headers: { 'x-http-method-override': 'DELETE' } }, 'headers.x-http-method-override'],
      [{ headers: { range: 'bytes=0-3' } }, 'headers.range'],
      [{ headers: { accept: 'a\r\nx: y' } }, 'headers.accept'],
      [{ headers: { accept: 'a', Accept: 'b' } }, 'headers.Accept'],
      [{ headers: { 'content-type': 'text/plain' } }, 'headers.content-type'],
      [{ body: 'a body' }, 'body'],
      [{ method: 'POST', body: 'a body' }, 'headers.content-type'],
      [{ method: 'TRACE' }, 'method'],
      [{ method: 'CONNECT' }, 'method'],
      [{ url: 'https://evil.example/' }, 'url'],
      [{ approval: 'ap_1' }, 'approval'],
      [{ method: 'POST', body: 'a', body_base64: 'YQ==' }, 'body_base64'],
    ])('before anything is sent: %j', async (change, field) => {
      await vault.link()
      const sent = await sentDuring(async () => {
        const { body } = await vault.fetch({ method: 'GET', path: '/issues/1', ...change })
        expect(body).toMatchObject({ status: 422, code: 'invalid_request', field })
      })
      expect(sent).toEqual([])
    })

    test('for paths that hand out credentials, also to whoever would ask the person', async () => {
      await vault.link({ rules: [{ title: 'All', methods: ['GET', 'POST'], paths: ['/**?*'] }] })
      const sent = await sentDuring(async () => {
        for (const path of ['/token', '/Token/', '/oauth/x', '/api/tokens', '/%74oken', '/token.json']) {
          const call = { method: 'GET', path }
          expect((await vault.fetch(call)).body, path).toMatchObject({
            status: 403,
            code: 'forbidden',
            field: 'path',
          })
          const detail = { type: 'vault_call', connection: 'acme', ...call }
          const asked = await vault.send('/approvals', { authorization_details: [detail], purpose: 'tests' })
          expect(asked.body, path).toMatchObject({ code: 'forbidden', field: 'authorization_details.0.path' })
        }
      })
      expect(sent).toEqual([])
    })
  })

  describe('what was not agreed to', () => {
    test('takes an approval of exactly this call, which is told as it is to be asked for, and counts once', async () => {
      const { id } = await vault.link()
      const refused = await vault.fetch(issue)
      expect(refused.body).toMatchObject({
        status: 403,
        code: 'approval_required',
        authorization_details: [
          {
            type: 'vault_call',
            connection: 'acme',
            method: 'POST',
            path: '/issues?draft=1',
            content_type: 'application/json',
            body_digest: 'XJJJYIINaBy0rHwd12wbVrlj279xj6ugA2kd0mzOPjg',
            body: '{"title":"Hello"}',
          },
        ],
      })
      const approval = await vault.approved(refused)
      vault.double.api = () => ({ status: 201, body: '{"number":1}' })
      const sent = await sentDuring(async () => {
        expect((await vault.fetch({ ...issue, approval })).body).toMatchObject({ status: 201 })
        expect((await vault.fetch({ ...issue, approval })).body).toMatchObject({ code: 'approval_required' })
      })
      expect(sent).toMatchObject([{ method: 'POST', path: '/issues?draft=1', body: '{"title":"Hello"}' }])
      const records = (await vault.recorded()).slice(-2)
      expect(records.map(({ event, detail }) => [event, detail['grant'], detail['connection']])).toEqual([
        ['vault_call_begun', approval, id],
        ['vault_called', approval, id],
      ])
      const [made] = await vault.world.database.query<{ detail: object }>(
        `select detail from decision_records where event = 'grant_made' order by record_no desc limit 1`,
      )
      expect(made?.detail).toMatchObject({
        grant: approval,
        vault_call: { path: '/issues', call_digest: records[0]?.detail['call_digest'] },
      })
    })

    test('is told to the person as it would be sent, and nothing else can be shown in its place', async () => {
      await vault.link()
      const refused = await vault.fetch(issue)
      const [detail] = refused.body['authorization_details'] as [Record<string, unknown>]
      const ask = (more: object) =>
        vault.send('/approvals', { authorization_details: [{ ...detail, ...more }], purpose: 'tests' })
      for (const body of ['{"title":"Hello "}', '', 'a\0', 'a'.repeat(8_193)])
        expect((await ask({ body })).body, body.slice(0, 20)).toMatchObject({ status: 422 })
      const asked = await ask({})
      const shown = await vault.world.service.approvals.oneOfMine('user:anne', String(asked.body['id']))
      expect(shown?.asked).toMatchObject({ call: { path: '/issues?draft=1' }, body: '{"title":"Hello"}' })
      // What is no text, or long, is a digest.
      const bytes = { ...issue, body: undefined, body_base64: Buffer.from([0xff, 0]).toString('base64') }
      for (const call of [bytes, { ...issue, body: 'a'.repeat(8_193) }]) {
        const details = (await vault.fetch(call)).body['authorization_details']
        expect(details).toMatchObject([{ body_digest: expect.any(String) }])
        expect(JSON.stringify(details)).not.toContain('"body"')
      }
    })

    test('is not done with an approval of anything else, which stays as it is', async () => {
      await vault.link()
      const approval = await vault.approved(await vault.fetch(issue))
      await vault.world.lend('anne', 'other-bot', 'collection:handbook')
      await vault.link({ agent: 'other-bot' })
      const other = await vault.world.token({ user: 'anne', agent: 'other-bot' })
      const sent = await sentDuring(async () => {
        for (const change of [
          { body: '{"title":"Hello!"}' },
          { body: '{"title":"Hello"} ' },
          { body: undefined, headers: {} },
          { path: '/issues' },
          { path: '/issues?draft=2' },
          { path: '/issues?draft=1&x' },
          { path: '/Issues?draft=1' },
          { method: 'PUT' },
          { headers: { 'content-type': 'application/json; charset=utf-8' } },
          { approval: 'g_of_nobody' },
        ]) {
          const { body } = await vault.fetch({ ...issue, approval, ...change })
          expect(body, JSON.stringify(change)).toMatchObject({ status: 403, code: 'approval_required' })
        }
        const { body } = await vault.fetch({ ...issue, approval }, { as: other })
        expect(body).toMatchObject({ code: 'approval_required' })
      })
      expect(sent).toEqual([])
      expect((await vault.fetch({ ...issue, approval })).body).toMatchObject({ status: 200 })
    })

    test('is not done for another account than the one that was approved', async () => {
      await vault.link()
      const approval = await vault.approved(await vault.fetch(issue))
      await vault.anew()
      await vault.link()
      const sent = await sentDuring(async () => {
        expect((await vault.fetch({ ...issue, approval })).body).toMatchObject({ code: 'approval_required' })
      })
      expect(sent).toEqual([])
    })

    test('is done once, of twenty at once', async () => {
      await vault.link()
      const approval = await vault.approved(await vault.fetch(issue))
      vault.double.api = () => ({ status: 201, afterMs: 20 })
      const sent = await sentDuring(async () => {
        const answers = await Promise.all(
          Array.from({ length: 20 }, () => vault.fetch({ ...issue, approval })),
        )
        const statuses = answers.map(({ status }) => status).sort()
        expect(statuses).toEqual([200, ...Array.from({ length: 19 }, () => 403)])
      })
      expect(sent).toHaveLength(1)
    })

    test('is reading outside of the patterns, too: other paths, and queries that they do not name', async () => {
      await vault.link()
      for (const path of ['/users/1', '/issues/1?secret=1', '/Issues/1']) {
        const refused = await vault.fetch({ method: 'GET', path })
        expect(refused.body, path).toMatchObject({ code: 'approval_required' })
        const approval = await vault.approved(refused)
        expect((await vault.fetch({ method: 'GET', path, approval })).body).toMatchObject({ status: 200 })
      }
    })
  })

  describe('whoever does not answer', () => {
    test('after something was sent that may have changed something, leaves it unknown, and the approval used', async () => {
      await vault.link()
      for (const hangsUp of ['at once', 'half way'] as const) {
        const approval = await vault.approved(await vault.fetch({ ...issue, body: `"${hangsUp}"` }))
        vault.double.api = () => ({ parts: ['{"half":'], hangsUp })
        const call = { ...issue, body: `"${hangsUp}"`, approval }
        expect((await vault.fetch(call)).body).toMatchObject({ status: 504, code: 'outcome_unknown' })
        expect((await vault.recorded()).at(-1)).toMatchObject({
          event: 'vault_called',
          detail: { outcome: 'unknown', status: null, grant: approval },
        })
        vault.double.api = () => ({})
        expect((await vault.fetch(call)).body).toMatchObject({ code: 'approval_required' })
      }
    })

    test('to a reading is an outage, and told as such', async () => {
      await vault.link()
      const get = async () => (await vault.fetch({ method: 'GET', path: '/issues/1' })).body
      vault.double.api = () => ({ hangsUp: 'at once' })
      expect(await get()).toMatchObject({ status: 503, code: 'provider_unavailable' })
      expect((await vault.recorded()).at(-1)).toMatchObject({ detail: { outcome: 'no_answer' } })
      vault.double.api = () => ({ body: 'a'.repeat(1_048_577) })
      expect(await get()).toMatchObject({
        code: 'provider_unavailable',
        detail: expect.stringContaining('1048576'),
      })
      vault.double.api = () => ({
        headers: { 'content-encoding': 'gzip' },
        body: gzipSync(Buffer.alloc(4_194_304)),
      })
      expect(await get()).toMatchObject({ code: 'provider_unavailable' })
    })

    test('with a 401 is asked once more with a fresh token; then the person has to connect again', async () => {
      const { accessToken } = await vault.link()
      vault.double.forget(accessToken)
      const sent = await sentDuring(async () => {
        expect((await vault.fetch({ method: 'GET', path: '/issues/1' })).body).toMatchObject({ status: 200 })
      })
      expect(new Set(sent.map(({ headers }) => headers.authorization)).size).toBe(2)
      vault.double.api = () => ({ status: 401 })
      const again = await sentDuring(async () => {
        const { body } = await vault.fetch({ method: 'GET', path: '/issues/1' })
        expect(body).toMatchObject({ code: 'reconnect_required', connect_url: expect.any(String) })
      })
      expect(again.length).toBeLessThanOrEqual(2)
    })
  })
})
