/**
 * Remit's tools for OpenAI's chat completions, and whatever speaks them. With the demo running:
 *
 *     TOKEN=$(npm run -s remit -- token --user anne --agent research-bot) \
 *       npm run -s example -- openai-tools "What did the March recall cost?"
 *
 * A scripted model stands in for a real one: it calls `retrieve`, reads what comes back and names its source.
 * For a real one, hand `tools` and `messages` to `client.chat.completions.create` instead.
 */
import assert from 'node:assert/strict'
import {
  createRemit,
  type FunctionCall,
  openAiTools,
  readDocumentTool,
  retrieveTool,
  staticToken,
} from '@remit/client'

const {
  PORT = '8787',
  PUBLIC_URL: url = `http://localhost:${PORT}`,
  PERSON = 'anne',
  TOKEN = '',
} = process.env
const question = process.argv[2] ?? 'What did the March recall cost?'
assert(TOKEN, 'TOKEN is missing: TOKEN=$(npm run -s remit -- token --user anne --agent research-bot)')

const remit = createRemit({ url, token: staticToken({ subject: PERSON, token: TOKEN }) })
const session = remit.for({ subject: PERSON })
const { tools, answer } = openAiTools([retrieveTool, readDocumentTool], session)

interface Message {
  readonly role: 'user' | 'assistant' | 'tool'
  readonly content: string
  readonly tool_calls?: readonly FunctionCall[]
}

function scriptedModel(messages: readonly Message[]): Message {
  const last = messages.at(-1)
  if (last?.role === 'user') {
    const [retrieve] = tools
    const call = {
      name: retrieve?.function.name ?? '',
      arguments: JSON.stringify({ query: last.content, top_k: 3 }),
    }
    return { role: 'assistant', content: '', tool_calls: [{ id: 'call_1', function: call }] }
  }
  const { passages } = JSON.parse(last?.content ?? '{}') as { passages: readonly { document_id: string }[] }
  const sources = [...new Set(passages.map(({ document_id }) => document_id))]
  return { role: 'assistant', content: `According to ${sources.join(', ') || 'nothing that you may read'}.` }
}

async function converse(): Promise<string> {
  const messages: Message[] = [{ role: 'user', content: question }]
  for (;;) {
    const said = scriptedModel(messages)
    messages.push(said)
    if (said.tool_calls === undefined) return said.content
    // What only the person can resolve is thrown here, and never becomes a message.
    for (const call of said.tool_calls) messages.push(await answer(call))
  }
}

converse().then(console.log, (error: unknown) => {
  console.error(String(error))
  process.exitCode = 1
})
