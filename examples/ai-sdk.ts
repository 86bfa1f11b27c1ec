/**
 * Remit's tools in the Vercel AI SDK. With the demo running:
 *
 *     TOKEN=$(npm run -s remit -- token --user anne --agent research-bot) \
 *       npm run -s example -- ai-sdk "What did the March recall cost?"
 *
 * A scripted model stands in for a real one (`model: openai('…')`): it calls `retrieve`, and names what came
 * back.
 */
import assert from 'node:assert/strict'
import { aiTool, createRemit, readDocumentTool, retrieveTool, staticToken } from '@remit/client'
import { generateText, isStepCount } from 'ai'
import { MockLanguageModelV4 } from 'ai/test'

const {
  PORT = '8787',
  PUBLIC_URL: url = `http://localhost:${PORT}`,
  PERSON = 'anne',
  TOKEN = '',
} = process.env
const question = process.argv[2] ?? 'What did the March recall cost?'
assert(TOKEN, 'TOKEN is missing: TOKEN=$(npm run -s remit -- token --user anne --agent research-bot)')

const remit = createRemit({ url, token: staticToken({ subject: PERSON, token: TOKEN }) })
// One for each conversation: whoever the tools work for is bound to them.
const session = remit.for({ subject: PERSON })

const usage = {
  inputTokens: { total: 0, noCache: 0, cacheRead: 0, cacheWrite: 0 },
  outputTokens: { total: 0, text: 0, reasoning: 0 },
}
const scriptedModel = new MockLanguageModelV4({
  doGenerate: async ({ prompt }) => {
    const last = prompt.at(-1)
    if (last?.role !== 'tool') {
      const input = JSON.stringify({ query: question, top_k: 3 })
      return {
        content: [{ type: 'tool-call', toolCallId: 'call_1', toolName: 'retrieve', input }],
        finishReason: { unified: 'tool-calls', raw: undefined },
        usage,
        warnings: [],
      }
    }
    const sources = new Set(JSON.stringify(last.content).match(/(?<="document_id":")[^"]+/g))
    const text = `According to ${[...sources].join(', ') || 'nothing that you may read'}.`
    return {
      content: [{ type: 'text', text }],
      finishReason: { unified: 'stop', raw: undefined },
      usage,
      warnings: [],
    }
  },
})

async function converse(): Promise<string> {
  const { text, steps } = await generateText({
    model: scriptedModel,
    tools: { retrieve: aiTool(retrieveTool, session), read_document: aiTool(readDocumentTool, session) },
    stopWhen: isStepCount(5),
    prompt: question,
  })
  // What a tool threw stands in its steps, as it was thrown.
  for (const part of steps.flatMap(({ content }) => content)) if (part.type === 'tool-error') throw part.error
  return text
}

converse().then(console.log, (error: unknown) => {
  console.error(String(error))
  process.exitCode = 1
})
