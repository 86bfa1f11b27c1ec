import { ciba, createRemit, exchange, type PendingApproval, type Session, withApproval } from '@remit/client'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { createAsking } from '../delegation/issuer/asking.ts'
import { type IssuerWorld, openIssuerWorld } from '../delegation/issuer/world.ts'

// What the client's source of tokens from afar makes of each answer of the real service.
const question = { query: 'board minutes', top_k: 5, mode: 'keyword' }
let world: IssuerWorld
let asking: Awaited<ReturnType<typeof createAsking>>
let ahead = 0
beforeAll(async () => {
  world = await openIssuerWorld({ now: () => Date.now() + ahead })
  asking = await createAsking(world)
  const secret = { viewers: ['user:anne'], sensitive: true }
  await world.put({
    'board/1': { text: 'Board minutes one.', access: secret },
    'board/2': { text: 'Board minutes two.', access: secret },
  })
  await world.lend('anne', 'research-bot', 'collection:handbook')
})
afterAll(() => world?.[Symbol.asyncDispose]())
afterEach(async () => {
  ahead = 0
  for (const table of ['backchannel_requests', 'approvals', 'approval_askers', 'offer_limits'])
    await world.database.query(`delete from ${table}`)
})

/** One process of the agent's. */
function parts() {
  const { key: privateKey, kid } = world.keys['agent-app']
  const platform = { now: () => Date.now() + ahead, sleep: async () => undefined }
  const client = { issuer: world.issuer, clientId: 'agent-app', key: { privateKey, kid }, ...platform }
  const source = ciba(client)
  const remit = createRemit({ url: world.url, token: exchange(client), ciba: source, ...platform })
  return { source, session: remit.for({ subject: 'anne', subjectToken: async () => 'none' }) }
}

async function offer(): Promise<string> {
  const token = await world.token({ user: 'anne', agent: 'research-bot' })
  let offered: string | undefined
  await expect
    .poll(async () => {
      const answer: object = await world.retrieve(token, question)
      offered ??= (answer as { approval?: { offer_id: string } }).approval?.offer_id
      return offered
    })
    .toBeDefined()
  return offered ?? ''
}

describe('documents', () => {
  const tool = (seen: unknown[]) =>
    withApproval<string, string[]>(
      {
        audience: world.url,
        scopes: ['docs.search'],
        details: (offered) => [{ type: 'document_access', offer: offered }],
        bindingMessage: () => 'The minutes',
      },
      async (_, access) => {
        seen.push(access.details)
        const headers = { 'content-type': 'application/json' }
        const response = await access.fetch('/retrieve', {
          method: 'POST',
          headers,
          body: JSON.stringify(question),
        })
        const { results } = (await response.json()) as { results: { document_id: string }[] }
        return results.map(({ document_id: id }) => id)
      },
    )
  const pendingOf = async (call: Promise<unknown>): Promise<PendingApproval> =>
    call.then(
      () => {
        throw new Error('It went through.')
      },
      (error: { data: { resume: PendingApproval } }) => error.data.resume,
    )

  test('narrowed: the tool that goes on in another process reads what was agreed to, once', async () => {
    const offered = await offer()
    const seen: unknown[] = []
    const resume = await pendingOf(tool(seen)(offered, parts().session))
    const { grant } = await asking.decide('anne', { answer: 'approve', documentIds: ['board/2'] })
    const kept = JSON.parse(JSON.stringify(resume)) as PendingApproval
    const read = (session: Session) => tool(seen)(offered, session, { resume: kept })
    expect(await read(parts().session)).toEqual(['board/2'])
    expect(seen).toEqual([[{ type: 'document_access', grant }]])
    await expect(read(parts().session)).rejects.toMatchObject({ code: 'invalid_grant' })
  })
})

describe('an answer', () => {
  const scopes = ['docs.search', 'docs.read']
  const request = { person: { subject: 'anne' }, scopes, bindingMessage: 'Nightly' }
  const begin = async (more: object = {}) => {
    const { source } = parts()
    const all = { ...request, audience: world.url, ...more }
    const pending = await source.start(all as never)
    return { pending, look: (at = pending) => source.poll(at, all as never) }
  }
  const said = (call: Promise<unknown>) =>
    call.then(
      () => 'a token',
      (error: unknown) => error,
    )

  test('that is not there yet is waited for, longer each time that it is asked for too soon', async () => {
    const { pending, look } = await begin()
    expect(pending).toMatchObject({ interval: 5, subject: 'anne', agent: 'agent-app' })
    expect(await said(look())).toMatchObject({ code: 'approval_pending', data: { resume: { interval: 5 } } })
    const slower = (await said(look())) as { data: { resume: PendingApproval } }
    expect(slower.data.resume.interval).toBe(10)
    expect(await said(look(slower.data.resume))).toMatchObject({ data: { resume: { interval: 15 } } })
    await asking.decide('anne', { answer: 'approve' })
    expect(await said(look(slower.data.resume))).toBe('a token')
  })

  test('that never comes is an expiry, and a no is one, with the person’s words beside it', async () => {
    const late = await begin({ expirySeconds: 30 })
    ahead += 31_000
    expect(await said(late.look())).toMatchObject({ code: 'approval_expired' })
    await world.database.query('delete from approvals')
    const refused = await begin()
    await asking.decide('anne', { answer: 'deny', reason: 'Später "vielleicht"' })
    expect(await said(refused.look())).toMatchObject({
      code: 'approval_denied',
      data: { reason: 'Später "vielleicht"' },
    })
  })

  test('that is a question says what is asked, and goes on once it is answered', async () => {
    const { look } = await begin()
    const { id, delegation } = await asking.decide('anne', { answer: 'ask', question: 'Which report?' })
    expect(await said(look())).toMatchObject({
      code: 'approval_pending',
      data: { question: { approval: id, text: 'Which report?' } },
    })
    const asker = {
      subject: 'user:anne',
      agent: 'research-bot',
      client: 'agent-app',
      delegation,
      txn: 't',
    } as const
    await world.service.approvals.answer(asker, id, 'The weekly one.')
    await asking.decide('anne', { answer: 'approve' })
    expect(await said(look())).toBe('a token')
  })

  test('is not there for somebody whom nobody may ask, and says when to come again for who asked enough', async () => {
    const nobody = { person: { subject: 'bob' } }
    expect(await said(begin(nobody))).toMatchObject({ code: 'unknown_user_id' })
    for (let count = 0; count < 5; count += 1)
      await begin({ details: [{ type: 'document_access', collections: [`c${count}`] }] })
    const enough = (await said(begin())) as { retryAfter?: number }
    expect(enough).toMatchObject({ status: 429, retryAfter: expect.any(Number) })
  })
})
