import { once } from 'node:events'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import {
  ApprovalDenied,
  createRemit,
  defineTool,
  openAiTools,
  type Session,
  staticToken,
} from '@remit/client'
import { afterEach, describe, expect, test } from 'vitest'
import { z } from 'zod'
import { openConversation } from '../../examples/assistant/conversation.ts'
import { openAiModel } from '../../examples/assistant/model.ts'
import { inAll, inWords } from '../../examples/assistant/orders.ts'
import type { Bought, Quote } from '../../examples/assistant/tools.ts'
import { createWaitingOrders } from '../../examples/assistant/waiting.ts'

// The parts of the demo's assistant that need nothing running: a model by setting, and orders that wait.
const url = 'https://remit.test'
const sessionOf = (subject: string): Session =>
  createRemit({ url, token: staticToken({ subject, token: 'none' }) }).for({ subject })
const closing: (() => void)[] = []
afterEach(() => {
  for (const close of closing.splice(0)) close()
})

interface Asked {
  readonly model: string
  readonly messages: readonly { readonly role: string; readonly content: string }[]
  readonly tools: readonly { readonly function: { readonly name: string } }[]
}

/** A server that speaks chat completions: gives these answers, one after the other. */
async function startModel(...answers: readonly (object | number)[]) {
  const asked: Asked[] = []
  const answer = async (request: IncomingMessage, response: ServerResponse) => {
    let body = ''
    for await (const part of request) body += String(part)
    asked.push(JSON.parse(body) as Asked)
    const message = answers[asked.length - 1]
    const status = typeof message === 'number' ? message : 200
    response.writeHead(status, { 'content-type': 'application/json' })
    response.end(JSON.stringify({ choices: [{ index: 0, finish_reason: 'stop', message }] }))
  }
  const server = createServer((request, response) => void answer(request, response))
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  closing.push(() => server.close())
  const { port } = server.address() as AddressInfo
  return {
    asked,
    model: openAiModel({ baseURL: `http://127.0.0.1:${port}/v1`, model: 'small', apiKey: 'k' }),
  }
}

const calls = (name: string, input: object) => ({
  role: 'assistant',
  content: null,
  tool_calls: [{ id: 'c1', type: 'function', function: { name, arguments: JSON.stringify(input) } }],
})
const says = (content: string) => ({ role: 'assistant', content })
const { signal } = new AbortController()

const buy = (run: () => Promise<object>) =>
  defineTool({ name: 'buy', description: 'Buys.', input: z.object({ symbol: z.string() }), run })

describe('a model behind OpenAI’s chat completions', () => {
  test('gets the tools, calls one, and says what came of it', async () => {
    const { asked, model } = await startModel(calls('buy', { symbol: 'ACME' }), says('Done.'))
    const tools = openAiTools([buy(async () => ({ bought: 1 }))], sessionOf('anne'))
    expect(await openConversation({ model, tools }).turn('buy', signal)).toBe('Done.')
    expect(asked[0]).toMatchObject({ model: 'small', tools: [{ function: { name: 'buy' } }] })
    expect(asked[1]?.messages.at(-1)).toMatchObject({ role: 'tool', content: '{"bought":1}' })
  })

  test('never reads of a no: its history goes on as if nothing had been called', async () => {
    const { asked, model } = await startModel(calls('buy', { symbol: 'ACME' }), says('Yes?'))
    const denied = new ApprovalDenied('approval_denied', { message: 'No.' }, { reason: 'Too dear' })
    const tools = openAiTools([buy(() => Promise.reject(denied))], sessionOf('anne'))
    const conversation = openConversation({ model, tools })
    expect(await conversation.turn('buy ACME', signal)).toBe(
      'You said no: nothing was done. (You wrote: Too dear)',
    )
    expect(await conversation.turn('and now?', signal)).toBe('Yes?')
    expect(asked[1]?.messages.slice(1)).toEqual([
      { role: 'user', content: 'buy ACME' },
      { role: 'assistant', content: 'That was not done.' },
      { role: 'user', content: 'and now?' },
    ])
  })

  test('that fails, or calls without end, ends the turn in a sentence', async () => {
    const tools = openAiTools([buy(async () => ({}))], sessionOf('anne'))
    const refused = await startModel(401)
    expect(await openConversation({ ...refused, tools }).turn('buy', signal)).toMatch(
      /^The model gave no answer: 401/,
    )
    const endless = await startModel(...Array.from({ length: 20 }, () => calls('buy', { symbol: 'A' })))
    expect(await openConversation({ ...endless, tools }).turn('buy', signal)).toContain('round in circles')
    expect(endless.asked).toHaveLength(8)
  })
})

describe('an order that waits', () => {
  const order = { symbol: 'BRIX', quantity: 5, limit: '50.00', below: 50 }
  /** Prices, one for each look; time is whoever calls `pass`. */
  function waiting(
    prices: number[],
    bought: () => Promise<Bought> = async () => ({ bought: 5, of: 'BRIX' }),
  ) {
    const said: string[] = []
    const asked: string[] = []
    const stopping = new AbortController()
    let pass: () => void = () => undefined
    const orders = createWaitingOrders({
      quote: async ({ symbol }): Promise<Quote> => ({ symbol, price: prices.shift() ?? 100 }),
      buy: async (wanted, session) => {
        asked.push(`${session.person.subject} ${wanted.quantity} ${wanted.symbol}`)
        return bought()
      },
      say: (text) => void said.push(text),
      pause: (until) =>
        new Promise<void>((resolve, reject) => {
          pass = resolve
          until.addEventListener('abort', () => reject(until.reason as Error))
        }),
      signal: stopping.signal,
    })
    return { orders, said, asked, pass: () => pass(), stop: () => stopping.abort(new Error('stopped')) }
  }

  test('asks the person only once the price is there, and for the person who gave it', async () => {
    const { orders, said, asked, pass } = waiting([54, 54, 50, 49.99])
    expect(await orders.add(order, sessionOf('anne'))).toEqual({ waits_for: 'BRIX below 50', price_now: 54 })
    await new Promise(setImmediate)
    pass()
    await new Promise(setImmediate)
    expect([said, asked]).toEqual([[], []])
    pass()
    await orders.settled()
    expect(asked).toEqual(['anne 5 BRIX'])
    expect(said).toEqual([
      'BRIX is at 49.99, below 50.00: buy 5 BRIX for you, at most 250.00 USD?',
      'Bought 5 BRIX at 50.00 or less.',
    ])
  })

  test('that the person refuses is over, and says so', async () => {
    const denied = new ApprovalDenied('approval_denied', { message: 'No.' }, {})
    const { orders, said } = waiting([54, 40], () => Promise.reject(denied))
    await orders.add(order, sessionOf('anne'))
    await orders.settled()
    expect(said.at(-1)).toBe('You said no: nothing was done.')
  })

  test('ends with the program, without a word and without an order', async () => {
    const { orders, said, asked, stop } = waiting([54, 54, 10])
    await orders.add(order, sessionOf('anne'))
    await new Promise(setImmediate)
    stop()
    await orders.settled()
    expect([said, asked]).toEqual([[], []])
  })
})

test('what the person reads of an order is exact to the cent', () => {
  expect(inAll({ symbol: 'A', quantity: 3, limit: '0.10' })).toBe('0.30 USD')
  expect(inWords({ symbol: 'ACME', quantity: 10, limit: '125.00' })).toBe(
    'buy 10 ACME for you, at most 1,250.00 USD',
  )
})
