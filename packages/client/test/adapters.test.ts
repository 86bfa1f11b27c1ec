import { BaseRetriever } from '@langchain/core/retrievers'
import { tool } from '@langchain/core/tools'
import { generateText, isStepCount } from 'ai'
import { MockLanguageModelV4 } from 'ai/test'
import { beforeEach, describe, expect, expectTypeOf, test } from 'vitest'
import { z } from 'zod'
import {
  aiTool,
  ciba,
  createRemit,
  defineTool,
  exchange,
  isRemitError,
  langChainDocuments,
  langChainTool,
  openAiTools,
  readDocumentTool,
  retrieveTool,
  type Session,
  withApproval,
} from '../src/index.ts'
import { conversations } from '../src/node.ts'
import { broker, createDouble, type Double, found, issuer, url } from './double/double.ts'

let double: Double
let sessions: Readonly<Record<'anne' | 'bob', Session>>
beforeEach(async () => {
  double = await createDouble()
  const options = { issuer, ...double.agents['agent-a'], fetch: double.fetch }
  const remit = createRemit({ url, token: exchange(options), ciba: ciba(options), fetch: double.fetch })
  sessions = {
    anne: remit.for(double.person('anne', 'agent-a')),
    bob: remit.for(double.person('bob', 'agent-a')),
  }
})

const buy = defineTool({
  name: 'buy',
  description: 'Buys shares.',
  input: z.object({ symbol: z.string(), quantity: z.int().positive() }),
  run: withApproval(
    {
      audience: broker,
      bindingMessage: ({ symbol }: { symbol: string; quantity: number }) => `Buy ${symbol}`,
      mode: 'interrupt',
    },
    ({ quantity }) => ({ bought: quantity }),
  ),
})

/** A model that calls one tool, and then says what it got. */
function modelThatCalls(toolName: string, input: object) {
  const usage = {
    inputTokens: { total: 1, noCache: 1, cacheRead: 0, cacheWrite: 0 },
    outputTokens: { total: 1, text: 1, reasoning: 0 },
  }
  const warnings: [] = []
  let calls = 0
  return new MockLanguageModelV4({
    doGenerate: async ({ prompt }) => {
      calls += 1
      if (calls === 1)
        return {
          content: [{ type: 'tool-call', toolCallId: 'c1', toolName, input: JSON.stringify(input) }],
          finishReason: { unified: 'tool-calls', raw: undefined },
          usage,
          warnings,
        }
      const text = JSON.stringify(prompt.at(-1)?.content)
      return {
        content: [{ type: 'text', text }],
        finishReason: { unified: 'stop', raw: undefined },
        usage,
        warnings,
      }
    },
  })
}

describe('the AI SDK', () => {
  test('calls a tool for its person, by the schema that the tool has', async () => {
    const model = modelThatCalls('retrieve', { query: 'travel' })
    const { text } = await generateText({
      model,
      tools: { retrieve: aiTool(retrieveTool, sessions.anne) },
      stopWhen: isStepCount(2),
      prompt: 'How do I travel?',
    })
    expect(text).toContain('anne agent-a travel')
    expect(model.doGenerateCalls[0]?.tools).toMatchObject([
      { name: 'retrieve', inputSchema: { required: ['query'] } },
    ])
  })

  test('tells the app of a question that waits as it was thrown, and the model no more than that', async () => {
    const { steps } = await generateText({
      model: modelThatCalls('buy', { symbol: 'ACME', quantity: 10 }),
      tools: { buy: aiTool(buy, sessions.anne) },
      prompt: 'Buy ten.',
    })
    const errors = steps.flatMap(({ content }) => content).filter((part) => part.type === 'tool-error')
    expect(errors.map(({ error }) => isRemitError(error, 'approval_pending'))).toEqual([true])
    expectTypeOf(aiTool(buy, sessions.anne).execute).returns.resolves.toEqualTypeOf<{ bought: number }>()
  })
})

describe('LangChain', () => {
  test('has a tool that works for its person, with the schema that it has', async () => {
    const { func, fields } = langChainTool(retrieveTool, sessions.anne)
    const made = tool(func, fields)
    expect(made.name).toBe('retrieve')
    const answer: unknown = await made.invoke({ query: 'travel' })
    expect(JSON.stringify(answer)).toContain('anne agent-a travel')
    const waiting = langChainTool(buy, sessions.anne)
    const asked = tool(waiting.func, waiting.fields)
    await expect(asked.invoke({ symbol: 'ACME', quantity: 10 })).rejects.toMatchObject({
      code: 'approval_pending',
    })
  })

  test('has a retriever that finds what the person of the conversation may read', async () => {
    const { run, current } = conversations()
    class Remit extends BaseRetriever {
      lc_namespace = ['remit']
      override _getRelevantDocuments = langChainDocuments(current, { top_k: 3 })
    }
    const retriever = new Remit()
    const find = (session: Session) => run(session, () => retriever.invoke('travel'))
    const [anne, bob] = await Promise.all([find(sessions.anne), find(sessions.bob)])
    expect(anne).toMatchObject([
      {
        pageContent: 'anne agent-a travel',
        metadata: { document_id: 'handbook/a', rank: 1, complete: true, scope_key: 's', txn: 't_1' },
      },
    ])
    expect(bob[0]?.pageContent).toBe('bob agent-a travel')
    await expect(retriever.invoke('travel')).rejects.toMatchObject({ code: 'no_person' })
  })
})

describe('an answer that was cut short', () => {
  const answerOf = (results: readonly object[]) => Response.json({ ...found('x'), results, complete: false })
  const ask = langChainDocuments(() => sessions.anne)

  test('is an error where nothing was found, and not “nothing is there”', async () => {
    double.before = ({ url: address }) => (address.endsWith('/retrieve') ? answerOf([]) : undefined)
    await expect(ask('travel')).rejects.toMatchObject({
      name: 'Unavailable',
      code: 'unavailable',
      txn: 't_1',
      retryAfter: 1,
    })
  })

  test('says so on each passage where something was', async () => {
    double.before = ({ url: address }) =>
      address.endsWith('/retrieve') ? answerOf(found('x').results) : undefined
    expect(await ask('travel')).toMatchObject([{ pageContent: 'x', metadata: { complete: false } }])
  })
})

describe('OpenAI’s tool calls', () => {
  const call = (name: string, args: unknown) => ({
    id: 'call_1',
    type: 'function' as const,
    function: { name, arguments: typeof args === 'string' ? args : JSON.stringify(args) },
  })

  test('are described as plain JSON Schema, and answered with a message', async () => {
    const { tools, answer } = openAiTools([retrieveTool, readDocumentTool, buy], sessions.anne)
    expect(tools.map((one) => one.function.name)).toEqual(['retrieve', 'read_document', 'buy'])
    expect(tools[2]?.function.parameters).toMatchObject({
      type: 'object',
      required: ['symbol', 'quantity'],
    })
    expect(await answer(call('retrieve', { query: 'travel' }))).toEqual({
      role: 'tool',
      tool_call_id: 'call_1',
      content: expect.stringContaining('anne agent-a travel'),
    })
  })

  test('that a model can mend are told to it', async () => {
    const { answer } = openAiTools([retrieveTool, readDocumentTool, buy], sessions.anne)
    for (const [name, args, error] of [
      ['sell', {}, 'unknown_tool'],
      ['retrieve', '{"query":', 'invalid_arguments'],
      ['retrieve', { query: 1 }, 'invalid_arguments'],
      ['buy', { symbol: 'ACME', quantity: 0.5 }, 'invalid_arguments'],
      ['read_document', { id: 'none' }, 'not_found'],
    ] as const)
      expect(JSON.parse((await answer(call(name, args))).content)).toMatchObject({ error })
    expect(double.questions).toEqual([])
  })

  test('that wait for the person, or that they refused, are the app’s to know and no content', async () => {
    const { answer } = openAiTools([buy], sessions.anne)
    const order = call('buy', { symbol: 'ACME', quantity: 10 })
    const pending: unknown = await answer(order).catch((thrown: unknown) => thrown)
    if (!isRemitError(pending, 'approval_pending')) throw pending
    double.questions[0]!.outcome = { deny: 'No.' }
    await expect(answer(order, { resume: pending.data.resume })).rejects.toMatchObject({
      code: 'approval_denied',
    })
  })

  test('under one name for two tools cannot be made', () => {
    expect(() => openAiTools([buy, buy], sessions.anne)).toThrow('name')
    expect(() => defineTool({ ...buy, name: 'a b', run: async () => 1 })).toThrow('name')
  })
})
