import { randomUUID } from 'node:crypto'
import type { Message, Model } from './model.ts'

/**
 * NOT A MODEL: five rules, so that the whole demo can be seen offline. It reads what the person wrote and
 * what a tool gave, as a model would, and calls the same tools.
 */
export const scriptedModel: Model = {
  title:
    'SCRIPTED, five fixed rules and no AI (a real one: ASSISTANT_BASE_URL, ASSISTANT_MODEL, ASSISTANT_API_KEY)',
  async next(messages) {
    const last = messages.at(-1)
    if (last?.role === 'tool')
      return { role: 'assistant', content: answerFrom(JSON.parse(last.content), messages) }
    const [name, input] = toolFor(String(last?.content ?? ''))
    const call = { name, arguments: JSON.stringify(input) }
    return {
      role: 'assistant',
      content: '',
      tool_calls: [{ id: `call_${randomUUID()}`, type: 'function', function: call }],
    }
  },
}

function toolFor(text: string): readonly [string, object] {
  const buying = /\bbuy (\d+) ([A-Z]+)\b.*?\bat most (\d+(?:\.\d\d)?)/.exec(text)
  const below = /\bbelow (\d+(?:\.\d\d)?)/.exec(text)
  if (buying !== null) {
    const [, quantity, symbol, limit] = buying
    const order = { symbol, quantity: Number(quantity), limit }
    return below === null ? ['buy', order] : ['buy_when_below', { ...order, below: Number(below[1]) }]
  }
  const priced = /\bprice of ([A-Z]+)\b/.exec(text)
  return priced === null ? ['retrieve', { query: text, top_k: 1 }] : ['quote', { symbol: priced[1] }]
}

interface Result {
  readonly passages?: readonly { readonly document_id: string; readonly text: string }[]
  readonly price?: number
  readonly symbol?: string
  readonly bought?: number
  readonly of?: string
  readonly refused?: string
  readonly waits_for?: string
  readonly price_now?: number
  readonly error?: string
}

function answerFrom(result: Result, messages: readonly Message[]): string {
  if (result.passages !== undefined) return quoted(result.passages, questionOf(messages))
  if (result.refused !== undefined) return `Nothing was bought: refused ${result.refused}.`
  if (result.bought !== undefined) return `Done: ${result.bought} ${result.of}.`
  if (result.waits_for !== undefined)
    return `I wait for ${result.waits_for} (it is at ${result.price_now?.toFixed(2)}), and ask you then.`
  if (result.price !== undefined) return `${result.symbol} is at ${result.price.toFixed(2)} USD.`
  return `I cannot do that (${result.error ?? 'there is no such share'}).`
}

const questionOf = (messages: readonly Message[]): string =>
  String(messages.findLast(({ role }) => role === 'user')?.content ?? '')

/** The sentences that share the most words with the question, each with its document. */
function quoted(passages: NonNullable<Result['passages']>, question: string): string {
  const asked = new Set(wordsOf(question))
  const sentences = passages.flatMap(({ document_id, text }) =>
    text
      .replace(/^#.*$/gm, '')
      .split(/(?<=\.)\s+/)
      .map((sentence) => sentence.replaceAll(/\s+/g, ' ').trim())
      .filter((sentence) => sentence !== '')
      .map((sentence) => ({
        said: `${sentence} [${document_id}]`,
        shared: wordsOf(sentence).filter((word) => asked.has(word)).length,
      })),
  )
  const best = sentences.filter(({ shared }) => shared >= 2).sort((a, b) => b.shared - a.shared)
  return best.length === 0
    ? 'I find nothing about that in what you may read.'
    : best
        .slice(0, 2)
        .map(({ said }) => said)
        .join('\n')
}

const wordsOf = (text: string): string[] =>
  (text.toLowerCase().match(/\p{L}{3,}/gu) ?? [])
    .map((word) => word.slice(0, 6))
    .filter((word) => !common.has(word))

const common = new Set(['the', 'and', 'for', 'what', 'does', 'with', 'about', 'how', 'has', 'its'])
