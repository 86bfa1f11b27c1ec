import { setTimeout as delay } from 'node:timers/promises'
import {
  type ApprovalPending,
  type AskingOptions,
  askingRetrieveTool,
  ciba,
  createProofKey,
  createRemit,
  deviceFlow,
  errorFromJSON,
  exchange,
  isRemitError,
  openAiTools,
  type ProofKey,
  retrieveTool,
  type Session,
  withApproval,
  withDeviceFlow,
} from '@remit/client'
import { createResourceGuard, memoryStore } from '@remit/client/guard'
import { decodeJwt } from 'jose'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { createAsking } from '../delegation/issuer/asking.ts'
import { type IssuerWorld, openIssuerWorld } from '../delegation/issuer/world.ts'
import { askedCall } from '../support/approvals.ts'
import { enterCode, signInTo } from './people.ts'

// A tool that asks first, on the real service: its authorization server, its table of approvals, and an API
// of others behind the guard that checks what was agreed to.
const broker = 'https://broker.test/api'
interface Order {
  readonly symbol: string
  readonly quantity: number
}
const ten: Order = { symbol: 'ACME', quantity: 10 }
const detailOf = ({ symbol, quantity }: Order) => ({ type: 'trade_order', symbol, quantity })

let world: IssuerWorld
let asking: Awaited<ReturnType<typeof createAsking>>
let anne: Session
let ahead = 0
let signedIn: string
/** What the person does once the agent has answered them. */
let answered: () => Promise<unknown> = async () => undefined
beforeAll(async () => {
  world = await openIssuerWorld({ now: () => Date.now() + ahead })
  asking = await createAsking(world)
  await world.service.issuer.resources.save({
    resource: broker,
    scopes: ['orders.place'],
    authorizationDetailsTypes: ['trade_order'],
    allowedClients: ['agent-app'],
    takesVerification: false,
  })
  await world.put({
    'handbook/travel': { text: 'Travel costs.', access: { viewers: ['user:anne', 'user:bob'] } },
    'handbook/merger': { text: 'Merger travel.', access: { viewers: ['user:anne'], sensitive: true } },
    'handbook/closing': { text: 'Closing travel.', access: { viewers: ['user:anne'], sensitive: true } },
  })
  await world.lend('anne', 'research-bot', 'collection:handbook')
  const scope = 'docs.search docs.read approvals.request'
  signedIn = await signInTo(world, 'agent-app', { scope, resource: world.url }, consent)
  anne = sessionOf()
})
afterAll(() => world?.[Symbol.asyncDispose]())
// Limits are for people, not for a file of tests: each begins with nothing asked.
afterEach(async () => {
  for (const table of ['backchannel_requests', 'approvals', 'approval_askers'])
    await world.database.query(`delete from ${table}`)
})

const consent = { objects: ['collection:handbook'] }

/**
 * One client of the agent's, to which the person signed in. Its pauses move the service's clock on instead.
 */
function sessionOf(more: { readonly proofKey?: ProofKey } = {}): Session {
  const { key: privateKey, kid } = world.keys['agent-app']
  const platform = {
    fetch: async (url: string, init: RequestInit) => {
      if (url.startsWith(broker)) return sell(url, init)
      const response = await fetch(url, init)
      if (url.endsWith('/answers')) await answered()
      return response
    },
    now: () => Date.now() + ahead,
    sleep: async (ms: number) => {
      ahead += ms
    },
  }
  const client = {
    issuer: world.issuer,
    clientId: 'agent-app',
    key: { privateKey, kid },
    ...platform,
    ...more,
  }
  const device = deviceFlow({ issuer: world.issuer, clientId: 'public-agent', ...platform })
  const token = exchange(client)
  const remit = createRemit({ url: world.url, token, device, ciba: ciba(client), ...platform })
  return remit.for({ subject: 'anne', subjectToken: async () => signedIn })
}

/** The broker: sells what was agreed to, once. */
async function sell(url: string, init: RequestInit): Promise<Response> {
  guard ??= createResourceGuard({
    issuer: world.issuer,
    resource: broker,
    requiredScopes: ['orders.place'],
    detailsTypes: ['trade_order'],
    uses: memoryStore(),
    clock: { now: () => Date.now() + ahead },
  })
  const { method = 'GET', headers, body } = init
  const access = await guard.verify({ method, url, headers: new Headers(headers) })
  if (!access.ok) return Response.json(access.refusal, access.refusal)
  const { symbol, quantity } = JSON.parse(String(body)) as Order
  const agreed = guard.permits(
    access.value,
    (one) => one['symbol'] === symbol && quantity <= Number(one['quantity']),
  )
  if (!agreed.ok) return Response.json(agreed.refusal, agreed.refusal)
  const used = await guard.use(access.value, agreed.value)
  if (!used.ok) return Response.json(used.refusal, used.refusal)
  return Response.json({ bought: quantity, for: access.value.subject, by: access.value.actors[0].subject })
}
let guard: ReturnType<typeof createResourceGuard> | undefined

const buy = (mode: 'interrupt' | 'poll' | 'block', onPending?: () => Promise<unknown>) =>
  withApproval<Order, { readonly status: number; readonly said: object }[]>(
    {
      audience: broker,
      scopes: ['orders.place'],
      details: (order) => [detailOf(order)],
      bindingMessage: ({ symbol, quantity }) => `Buy ${quantity} ${symbol}`,
      mode,
      ...(onPending && { onPending: async () => void (await onPending()) }),
    },
    // One share more than agreed, what was agreed to, and that once more.
    async (order, access) => {
      const answers = []
      for (const quantity of [order.quantity + 1, order.quantity, order.quantity]) {
        const body = JSON.stringify({ ...order, quantity })
        const response = await access.fetch('/orders', { method: 'POST', body })
        answers.push({ status: response.status, said: (await response.json()) as object })
      }
      return answers
    },
  )

const onceTen = [
  { status: 403, said: expect.objectContaining({ error: 'access_denied' }) },
  { status: 200, said: { bought: 10, for: 'anne', by: 'research-bot' } },
  { status: 403, said: expect.objectContaining({ error: 'already_used' }) },
]

async function pendingOf(call: Promise<unknown>): Promise<ApprovalPending> {
  const error: unknown = await call.then(
    () => 'it went through',
    (thrown: unknown) => thrown,
  )
  if (!isRemitError(error, 'approval_pending')) throw error
  return error
}

describe('a tool that asks its person first', () => {
  test('buys ten shares once when they agreed, though it tries for eleven and for more', async () => {
    const { resume } = (await pendingOf(buy('interrupt')(ten, anne))).data
    expect(await asking.open('anne')).toMatchObject({ bindingMessage: 'Buy 10 ACME', agent: 'research-bot' })
    await asking.decide('anne', { answer: 'approve' })
    // Another process goes on with it.
    const later = sessionOf()
    expect(
      await buy('interrupt')(ten, later, { resume: JSON.parse(JSON.stringify(resume)) as never }),
    ).toEqual(onceTen)
  })

  test('waits for them, with a token that is bound to the agent’s key', async () => {
    const session = sessionOf({ proofKey: await createProofKey() })
    const tool = buy('block', () => asking.decide('anne', { answer: 'approve' }))
    // The guard of this broker takes no bound tokens: what it says of one is told as it is.
    expect((await tool(ten, session)).map(({ status }) => status)).toEqual([401, 401, 401])
  })

  test('does nothing when they refuse, and tells why beside the error, not in it', async () => {
    const tool = buy('block', () => asking.decide('anne', { answer: 'deny', reason: 'Not today' }))
    const error: unknown = await tool(ten, anne).catch((thrown: unknown) => thrown)
    expect(error).toMatchObject({ code: 'approval_denied', data: { reason: 'Not today' } })
    expect(errorFromJSON(JSON.parse(JSON.stringify(error)))).toMatchObject({ name: 'ApprovalDenied' })
  })

  test('is over at once after that no, and says to nobody that they were asked', async () => {
    let told = 0
    const tool = buy('block', async () => {
      told += 1
      await asking.decide('anne', { answer: 'deny' })
    })
    const twelve = { ...ten, quantity: 12 }
    await expect(tool(twelve, anne)).rejects.toMatchObject({ code: 'approval_denied' })
    const before = ahead
    await expect(tool(twelve, anne)).rejects.toMatchObject({ code: 'approval_denied' })
    expect([told, ahead]).toEqual([1, before])
  })

  test('answers what they ask back, and goes on', async () => {
    const heard: string[] = []
    const tool = withApproval<Order, string>(
      {
        audience: broker,
        scopes: ['orders.place'],
        details: (order) => [detailOf(order)],
        bindingMessage: () => 'Buy',
        mode: 'block',
        onPending: async () => void (await asking.decide('anne', { answer: 'ask', question: 'What for?' })),
        onQuestion: async (question) => {
          heard.push(question)
          return 'The pension plan.'
        },
      },
      async (order, access) => {
        const response = await access.fetch('/orders', { method: 'POST', body: JSON.stringify(order) })
        return String(response.status)
      },
    )
    answered = async () => {
      expect((await asking.open('anne'))?.rounds[0]?.answer).toBe('The pension plan.')
      await asking.decide('anne', { answer: 'approve' })
    }
    expect(await tool({ ...ten, symbol: 'ASKED' }, anne)).toBe('200')
    expect(heard).toEqual(['What for?'])
  })
})

describe('a tool that needs a sign-in', () => {
  test('has the person sign in with the code that they are shown, and works for them', async () => {
    const tool = withDeviceFlow<string, number>(
      {
        audience: world.url,
        scopes: ['docs.search'],
        mode: 'block',
        onSignIn: (signIn, { person }) => enterCode(world, signIn, { ...consent, user: person.subject }),
      },
      async (query, access) => {
        const headers = { 'content-type': 'application/json' }
        const body = JSON.stringify({ query })
        const response = await access.fetch('/retrieve', { method: 'POST', headers, body })
        return ((await response.json()) as { readonly results: readonly unknown[] }).results.length
      },
    )
    expect(await tool('travel', anne)).toBe(1)
  })

  test('is not done with somebody else’s sign-in', async () => {
    const tool = withDeviceFlow<string, string>(
      {
        audience: world.url,
        scopes: ['docs.read'],
        mode: 'block',
        onSignIn: (signIn) => enterCode(world, signIn, { ...consent, user: 'bob' }),
      },
      () => 'done',
    )
    await expect(tool('x', anne)).rejects.toMatchObject({ code: 'wrong_person' })
  })
})

describe('a question whose answer is sensitive', () => {
  // Pauses of the tests before moved the clock on: the index is behind by as much until it has looked again.
  beforeEach(() => delay(300))

  const reading = (options: Partial<AskingOptions> = {}) =>
    openAiTools([askingRetrieveTool({ purpose: ({ query }) => `To answer: ${query}`, ...options })], anne)
  const found = async (query: string, options?: Partial<AskingOptions>) => {
    const call = { id: 'c', function: { name: 'retrieve', arguments: JSON.stringify({ query }) } }
    const { content } = await reading(options).answer(call)
    const { passages } = JSON.parse(content) as { passages: readonly { document_id: string }[] }
    return { ids: passages.map(({ document_id }) => document_id).sort(), content }
  }

  test('is put to the person, and answered with what they released for it alone', async () => {
    const { ids } = await found('merger travel', {
      onPending: async (asked, session) => {
        expect(session).toBe(anne)
        expect(await asking.open('anne')).toMatchObject({ id: asked.id, purpose: 'To answer: merger travel' })
        await asking.decide('anne', { answer: 'approve' })
      },
    })
    expect(ids).toContain('handbook/merger')
    // One answer: the next question finds nothing of it without another yes.
    const { results } = await anne.retrieve({ query: 'merger travel' })
    expect(results.map(({ document_id }) => document_id)).toEqual(['handbook/travel'])
  })

  test('is answered from the rest after a no, with no word of it, and is not put again at once', async () => {
    const heard: string[] = []
    const options: Partial<AskingOptions> = {
      purpose: 'To answer what you asked.',
      onPending: async () => {
        heard.push(String((await asking.open('anne'))?.purpose))
        await asking.decide('anne', { answer: 'deny', reason: 'Not today' })
      },
      onDenied: ({ code, data }) => void heard.push(`${code} ${(data as { reason?: string }).reason}`),
    }
    expect(reading().tools).toEqual(openAiTools([retrieveTool], anne).tools)
    const { ids, content } = await found('closing travel', options)
    expect(ids).toEqual(['handbook/travel'])
    expect(content).not.toMatch(/Not today|denied|approv|closing/i)
    expect((await found('closing travel', options)).ids).toEqual(['handbook/travel'])
    // The second time by the service itself, and the person heard nothing.
    expect(heard).toEqual([
      'To answer what you asked.',
      'approval_denied Not today',
      'approval_denied undefined',
    ])
  })

  test('that the person asks back about is answered from the rest where nobody replies, and else goes on', async () => {
    const ask = async () => void (await asking.decide('anne', { answer: 'ask', question: 'What for?' }))
    expect((await found('merger travel', { onPending: ask })).ids).toEqual(['handbook/travel'])
    answered = () => asking.decide('anne', { answer: 'approve' })
    await asking.decide('anne', { answer: 'deny' })
    for (const table of ['approvals', 'approval_askers']) await world.database.query(`delete from ${table}`)
    const { ids } = await found('merger travel', { onPending: ask, onQuestion: () => 'The board.' })
    expect(ids).toContain('handbook/merger')
  })
})

describe('tools in one another', () => {
  test('a sign-in first, then the approval: the inner one is for the same person and call', async () => {
    const inner = buy('block', () => asking.decide('anne', { answer: 'approve' }))
    const signals: unknown[] = []
    const outer = withDeviceFlow<Order, unknown>(
      {
        audience: world.url,
        scopes: ['docs.search'],
        mode: 'block',
        onSignIn: (signIn) => enterCode(world, signIn, { ...consent, user: 'anne' }),
      },
      (order, access, session, call) => {
        expect([access.audience, session]).toEqual([world.url, anne])
        signals.push(call.signal)
        return inner(order, session, call)
      },
    )
    const { signal } = new AbortController()
    expect(await outer({ ...ten, symbol: 'NESTED' }, anne, { signal })).toMatchObject([
      { status: 403 },
      { status: 200, said: { for: 'anne' } },
      { status: 403 },
    ])
    expect(signals).toEqual([signal])
  })
})

describe('what an agent asks for over REST', () => {
  const asked = askedCall({ connection: 'c_1', method: 'POST', path: '/user/repos' })
  const begin = async () => {
    const { delegation } = decodeJwt(signedIn)
    const asker = {
      subject: 'user:anne' as const,
      agent: 'research-bot',
      client: 'agent-app',
      delegation: String(delegation),
      txn: 't_1',
    }
    return (await world.service.approvals.ask(asker, asked, { purpose: 'x', seconds: 300, front: 'rest' })).id
  }

  test('is waited for: the person asks back, is answered, and refuses', async () => {
    const id = await begin()
    expect(await anne.approvals.get(id)).toMatchObject({ id, state: 'pending' })
    await asking.decide('anne', { answer: 'ask', question: 'What for?' })
    expect(await anne.approvals.wait(id)).toMatchObject({ state: 'info_requested', question: 'What for?' })
    answered = () => asking.decide('anne', { answer: 'deny', reason: 'No need.' })
    await expect(anne.approvals.wait(id, { onQuestion: () => 'The pension plan.' })).rejects.toMatchObject({
      name: 'ApprovalDenied',
      data: { approval: id, reason: 'No need.' },
    })
  })

  test('ends with whoever waits for it giving up', async () => {
    const id = await begin()
    const leaving = new AbortController()
    const waiting = anne.approvals.wait(id, { signal: leaving.signal })
    leaving.abort(new Error('the caller left'))
    await expect(waiting).rejects.toThrow('the caller left')
  })

  test('is nobody else’s to look at', async () => {
    await expect(anne.approvals.get('ap_unknown')).rejects.toMatchObject({ code: 'not_found' })
    await expect(
      anne.approvals.request({
        authorization_details: [{ type: 'document_access', offer: 'o_unknown' }],
        purpose: 'x',
      }),
    ).rejects.toMatchObject({
      code: 'invalid_request',
      field: expect.stringMatching(/^authorization_details/),
    })
  })
})
